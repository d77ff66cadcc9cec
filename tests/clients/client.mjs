// client.mjs KIND URL COUNT: fetch, or http (the module, https by the URL).
import http from "node:http";
import https from "node:https";

const [kind, url, count] = process.argv.slice(2);

function byModule(target) {
  return new Promise((resolve, reject) => {
    const get = target.startsWith("https:") ? https.get : http.get;
    const request = get(target, { agent: false, timeout: 20000 }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    request.on("error", reject);
  });
}

async function byFetch(target) {
  const answer = await fetch(target, { signal: AbortSignal.timeout(20000) });
  await answer.text();
  return answer.status;
}

const get = kind === "fetch" ? byFetch : byModule;
let ok = 0;
let last = "";
for (let i = 0; i < Number(count); i++) {
  try {
    if ((await get(url)) === 200) ok++;
  } catch (error) {
    last = String(error.cause ?? error);
  }
}
console.log(JSON.stringify({ ok, failed: Number(count) - ok, last }));
