// Lists tools and calls one, with the official TypeScript client: over HTTP where the first
// argument is an address, else over stdio with the command that the arguments are. Prints JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages lie where the tests have them installed, not beside this file.
const require = createRequire(pathToFileURL(process.env.PORTREEVE_NODE_DIR + "/"));
const sdk = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)));
const { Client } = await sdk("client/index.js");
const { StdioClientTransport } = await sdk("client/stdio.js");
const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js");

const [first, ...rest] = process.argv.slice(2);
const transport = first.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(first))
  : new StdioClientTransport({ command: first, args: rest, env: process.env });
const client = new Client({ name: "e2e", version: "1" }, { capabilities: {} });
await client.connect(transport);
const listed = await client.listTools();
const answer = await client.callTool({ name: "echo__echo", arguments: { a: [1, "ü"] } });
console.log(
  JSON.stringify({
    version: client.getServerVersion().name,
    tools: listed.tools.map((tool) => tool.name),
    text: answer.content[0].text,
  }),
);
await client.close();
