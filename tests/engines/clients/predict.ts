import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: process.argv[2] });
const row: components["schemas"]["Row"] = { gre: 700, gpa: 3.5, rank: "1" };
const body = { instances: [row] };
const path = { name: "admissions" as const };
const x = { name: "x", shape: [1, 3], datatype: "FP64" as const, data: [700, 3.5, 0] };

const { data: one } = await client.POST("/predict", { body: row });
const { data: several } = await client.POST("/predict", { body: [row, row] });
const { data: why } = await client.POST("/explain", { body: row });
const { data: invoked } = await client.POST("/invocations", { body });
const { data: vertex } = await client.POST("/vertex", { body });
const { data: inferred } = await client.POST("/v2/models/{name}/infer", { params: { path }, body: { inputs: [x] } });
const { data: ready } = await client.GET("/health/ready");
const { error } = await client.POST("/predict", { body: { ...row, gre: 1e308, gpa: 1e308 } });

function single(answers: components["schemas"]["Answers"] | undefined): components["schemas"]["Answer"] {
  const found = Array.isArray(answers) ? answers[0] : answers;
  if (found === undefined || "error" in found) throw new Error("no answer");
  return found;
}
const expected = single(one);
const found = [single(several), single(why), invoked?.predictions[0], vertex?.predictions[0]].map((one) => one?.logit);
const logits = [...found, inferred?.outputs.find(({ name }) => name === "logit")?.data?.[0]];
if (!logits.every((logit) => logit === expected.logit)) throw new Error(`other logits: ${logits}`);
if (!ready?.ready || error?.errors?.[0].pointer !== "$") throw new Error("not as described");
console.log(expected.label);
