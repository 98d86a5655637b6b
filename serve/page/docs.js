// GET /openapi.json for people: each path, what it takes and answers, schemas and examples.

import { element } from "./draw.js";

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch"];
const paths = document.getElementById("paths");
const answered = await fetch("/openapi.json");
if (answered.ok) show(await answered.json());
else paths.append(element("p", {}, "This service has no openapi.json."));

function show({ info, paths: all, components = {} }) {
  document.getElementById("title").textContent = info.title;
  if (info.description) document.getElementById("description").textContent = info.description;
  for (const [path, item] of Object.entries(all)) {
    for (const method of METHODS.filter((one) => one in item)) paths.append(operation(path, method, item[method]));
  }
  const schemas = Object.entries(components.schemas ?? {});
  if (schemas.length) paths.append(element("section", {}, element("h2", {}, "Schemas"), ...schemas.map(([name, one]) => block(name, one))));
}

function operation(path, method, { summary = "", description = "", parameters = [], requestBody, responses = {} }) {
  const head = element("h2", {}, element("span", { class: "method" }, method.toUpperCase()), element("code", {}, path));
  const made = element("section", {}, head, element("p", {}, summary), element("p", { class: "soft" }, description));
  if (parameters.length) made.append(block("Parameters", parameters));
  if (requestBody) made.append(element("h3", {}, "Body"), ...content(requestBody));
  for (const [status, response] of Object.entries(responses)) {
    made.append(element("h3", {}, `${status} ${response.description ?? ""}`), ...content(response));
  }
  return made;
}

function content({ $ref, content: types = {} }) {
  if ($ref) return [element("p", {}, element("code", {}, $ref))];
  return Object.entries(types).flatMap(([type, { schema, example, examples = {} }]) => [
    ...(schema ? [block(`${type}: schema`, schema)] : []),
    ...(example === undefined ? [] : [block(`${type}: example`, example, true)]),
    ...Object.entries(examples).map(([name, one]) => block(`${type}: ${name}`, one.value, true)),
  ]);
}

function block(title, value, open = false) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const made = element("details", {}, element("summary", {}, title), element("pre", {}, text));
  made.open = open;
  return made;
}
