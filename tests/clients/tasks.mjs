// Calls tools as tasks with the official TypeScript client, as 2025-11-25 has them. The first
// argument is the address. Prints JSON: what came of each.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages lie where the tests have them installed, not beside this file.
const require = createRequire(pathToFileURL(process.env.PORTREEVE_NODE_DIR + "/"));
const sdk = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)));
const { Client } = await sdk("client/index.js");
const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js");
const { ElicitRequestSchema, TaskStatusNotificationSchema } = await sdk("types.js");

const client = new Client({ name: "e2e", version: "1" }, { capabilities: { elicitation: {} } });
let questions = 0;
client.setRequestHandler(ElicitRequestSchema, async () => {
  questions += 1;
  return { action: "accept", content: { value: 7 } };
});
const told = [];
client.setNotificationHandler(TaskStatusNotificationSchema, (notification) => {
  // Whether it works again before it ends is a matter of time.
  if (notification.params.status !== "working") told.push(notification.params.status);
});
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
// So that it knows which tools can be tasks.
await client.listTools();
const tasks = client.experimental.tasks;
const stream = (name, args) => tasks.callToolStream({ name, arguments: args });

const slept = [];
for await (const message of stream("sleep__sleep", { ms: 300 })) {
  const text = message.type === "result" ? `result:${message.result.content[0].text}` : message.type;
  if (slept.at(-1) !== text) slept.push(text);
}
// Its token is good until the task ends.
const progress = [];
const onprogress = (report) => progress.push(report.progress);
const report = { name: "progress__report", arguments: { times: 4, pause_ms: 200 } };
for await (const message of tasks.callToolStream(report, undefined, { onprogress })) {
  if (message.type === "error") throw message.error;
}
let given;
for await (const message of stream("client__gather_later", { ms: 100 })) {
  if (message.type === "error") throw message.error;
  if (message.type === "result") given = message.result.structuredContent.given;
}
const begun = stream("sleep__sleep", { ms: 25000 });
const { value: created } = await begun.next();
const cancelled = await tasks.cancelTask(created.task.taskId);
const { tasks: listed } = await tasks.listTasks();
// What it is told comes on a stream of its own.
for (let tries = 0; told.length < 5 && tries < 100; tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log(
  JSON.stringify({
    slept,
    progress,
    asked: { questions, given },
    cancelled: cancelled.status,
    listed: listed.length,
    told,
  }),
);
await client.close();
