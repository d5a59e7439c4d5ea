// The TypeScript SDK's client as a program: does what a person with an agent does, prints what it was answered as JSON.
// Arguments: FOLDER of node_modules, URL, TOKEN, pool. Asserts nothing: the test that runs it does.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, url, token, pool] = process.argv.slice(2);
const packages = createRequire(`${modules}/`);
const load = (name) => import(pathToFileURL(packages.resolve(`@modelcontextprotocol/sdk/${name}`)));
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");

async function connected(given) {
  const headers = given === null ? {} : { Authorization: `Bearer ${given}` };
  const client = new Client({ name: "a test", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return client;
}

async function refusal(given) {
  try {
    await connected(given);
    return null;
  } catch (error) {
    return { code: error.code ?? null, name: error.constructor.name, message: error.message };
  }
}

const client = await connected(token);
const saw = { version: client.transport.protocolVersion, server: client.getServerVersion() };
saw.tools = (await client.listTools()).tools.map((tool) => tool.name);
saw.resources = (await client.listResources()).resources.map((resource) => resource.uri);
saw.templates = (await client.listResourceTemplates()).resourceTemplates.map((template) => template.uriTemplate);
saw.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);

saw.progress = [];
const onprogress = (notice) => saw.progress.push([notice.progress, notice.message]);
saw.spawned = (await call("pool_spawn", { name: pool, worker_type: "command", max_workers: 1 }, { onprogress })).structuredContent;
saw.ran = (await call("pool_execute", { pool_id: pool, prompt: "echo hi" })).structuredContent;
saw.read = (await client.readResource({ uri: `mahavishnu://pools/default/${pool}` })).contents;
saw.wrong = await call("pool_execute", { pool_id: pool });
saw.unknown = await call("no_such_tool", {});

const abort = new AbortController();
let running;
const begun = new Promise((resolve) => (running = resolve));
const leaving = call(
  "pool_execute",
  { pool_id: pool, prompt: "sleep 60" },
  { signal: abort.signal, onprogress: (notice) => /^running: .* 1 running$/.test(notice.message) && running() },
).catch((error) => error.message);
await begun;
const rows = (await call("scan_list", {})).structuredContent.result;
const job_id = rows.find((row) => row.status === "running").job_id;
abort.abort("no longer wanted");
saw.cancelled = await leaving;
// Connected as before: the call was given up by a notice alone.
saw.ended = (await call("scan_wait", { job_id, timeout: 30 })).structuredContent;
await client.close();

saw.without_token = await refusal(null);
saw.wrong_token = await refusal("not-the-token-of-this-gateway");
console.log(JSON.stringify(saw));
