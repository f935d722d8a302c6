// The whole way with the JavaScript client: upload, look, download, delete.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import * as hub from "@huggingface/hub";

const [endpoint, accessToken, repository, ...paths] = process.argv.slice(2);
const where = { hubUrl: endpoint, accessToken };
const repo = { type: "model", name: repository };
const seen = { user: (await hub.whoAmI(where)).name };

await hub.createRepo({ ...where, repo });
const files = paths.map((path) => ({ path: basename(path), content: new Blob([readFileSync(path)]) }));
await hub.uploadFiles({ ...where, repo, files, commitTitle: "The adapter" });
seen.files = [];
for await (const file of hub.listFiles({ ...where, repo, recursive: true })) seen.files.push([file.path, file.size]);
seen.same = [];
for (const path of paths) {
  const blob = await hub.downloadFile({ ...where, repo, path: basename(path) });
  seen.same.push(Buffer.compare(Buffer.from(await blob.arrayBuffer()), readFileSync(path)) === 0);
}
seen.missing = await hub.fileExists({ ...where, repo, path: "nothing.txt" });
await hub.deleteFile({ ...where, repo, path: "README.md" });
seen.deleted = await hub.fileExists({ ...where, repo, path: "README.md" });
seen.found = [];
for await (const model of hub.listModels({ ...where, search: { owner: "ada" } })) seen.found.push(model.name);
await hub.deleteRepo({ ...where, repo });
console.log(JSON.stringify(seen));
