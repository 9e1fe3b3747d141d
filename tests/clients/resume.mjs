// Makes a long call with the official TypeScript client, which is sent away meanwhile and comes
// back. The first argument is the address. Prints JSON: the progress that it was told, the
// answer, and how often it came back.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages lie where the tests have them installed, not beside this file.
const require = createRequire(pathToFileURL(process.env.PORTREEVE_NODE_DIR + "/"));
const sdk = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)));
const { Client } = await sdk("client/index.js");
const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js");

let back = 0;
const counting = (address, init) => {
  if (new Headers(init?.headers).has("last-event-id")) back += 1;
  return fetch(address, init);
};
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), { fetch: counting });
const client = new Client({ name: "e2e", version: "1" }, { capabilities: {} });
await client.connect(transport);
const progress = [];
const call = { name: "progress__report", arguments: { times: 5, pause_ms: 400 } };
const onprogress = (told) => progress.push(told.progress);
const answer = await client.callTool(call, undefined, { onprogress, timeout: 30_000 });
console.log(JSON.stringify({ progress, answer: answer.structuredContent, back }));
await client.close();
