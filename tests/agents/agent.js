// A Node program as agents write them: worker threads, a child process, a file, a promise or two.
const { Worker, isMainThread, parentPort } = require("node:worker_threads");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

if (!isMainThread) {
  let sum = 0;
  for (let i = 0; i < 1e6; i++) sum += i;
  parentPort.postMessage(sum);
} else {
  const one = () => new Promise((ok, no) => new Worker(__filename).on("message", ok).on("error", no));
  Promise.all([one(), one()]).then((sums) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "agent-"));
    fs.writeFileSync(path.join(folder, "a.txt"), "x".repeat(1 << 20));
    const listed = execFileSync("ls", [folder]).toString().trim();
    fs.rmSync(folder, { recursive: true });
    console.log(JSON.stringify({ sums, listed, agent_type: process.env.EXECD_AGENT_TYPE ?? null }));
  });
}
