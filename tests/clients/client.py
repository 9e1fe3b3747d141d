"""Lists tools and calls one, with the official Python client, in the older era and in the newer
one: over HTTP where the first argument is an address, else over stdio with the command that the
arguments are. Prints JSON."""

import asyncio
import json
import os
import sys

from mcp import Client, StdioServerParameters


async def use(mode):
    arguments = sys.argv[1:]
    server = arguments[0]
    if not server.startswith("http"):
        server = StdioServerParameters(
            command=server, args=arguments[1:], env=dict(os.environ)
        )
    async with Client(server, mode=mode) as client:
        listed = await client.list_tools()
        answer = await client.call_tool("echo__echo", {"a": [1, "ü"]})
    return {
        "tools": [tool.name for tool in listed.tools],
        "text": answer.content[0].text,
    }


async def main():
    older = await use("legacy")
    newer = await use("2026-07-28")
    assert older == newer, (older, newer)
    print(json.dumps(newer))


asyncio.run(main())
