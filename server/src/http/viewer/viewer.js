// Renders the OpenAPI document of this server, and sends requests to it. Text from the document never becomes HTML.

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 6;

document.getElementById("token").addEventListener("change", load);
addEventListener("hashchange", open);
await load();

async function load() {
  const response = await fetch("../v1/openapi.json", { headers: authorization() });
  if (response.ok) {
    show(await response.json());
  } else {
    replace("operations", element("p", `The server answered ${response.status}: ${await response.text()}`));
  }
}

function authorization() {
  const token = document.getElementById("token").value;
  return token === "" ? {} : { authorization: `Bearer ${token}` };
}

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

function replace(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

// A description with `code` in backticks.
function prose(text) {
  const parts = (text ?? "").split("`");
  return element("p", ...parts.map((part, at) => (at % 2 === 1 ? element("code", part) : part)));
}

function show(api) {
  replace("about", ...prose(api.info.description).childNodes);
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((method) => item[method] !== undefined)) {
      const tag = item[method].tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), { method, path, operation: item[method] }]);
    }
  }
  const sections = [...groups].map(([tag, entries]) =>
    element("section", element("h2", tag), ...entries.map((entry) => details(api, entry))));
  const list = [...groups.values()].flat().map(({ method, path, operation }) => {
    const link = element("a", `${method.toUpperCase()} ${path}`);
    link.href = `#${operation.operationId}`;
    return element("li", link);
  });
  replace("contents", element("ul", ...list));
  replace("operations", ...sections);
  open();
}

// Opens the operation that the address names.
function open() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.tagName === "DETAILS") {
    named.open = true;
    named.scrollIntoView();
  }
}

function details(api, { method, path, operation }) {
  const name = element("span", method.toUpperCase());
  name.className = "method";
  const place = element("span", path);
  place.className = "path";
  const summary = element("summary", name, place, operation.summary ? ` - ${operation.summary}` : "");
  const made = element("details", summary);
  made.id = operation.operationId;
  // The rest is built when it is looked at.
  made.addEventListener("toggle", () => {
    if (made.open && made.childElementCount === 1) {
      made.append(...body(api, method, path, operation));
    }
  });
  return made;
}

function body(api, method, path, operation) {
  const parameters = (operation.parameters ?? []).map((parameter) => resolve(api, parameter));
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const parts = [prose(operation.description)];
  if (parameters.length > 0) {
    const rows = parameters.map((one) =>
      row(one.name, one.required, `${type(api, one.schema)}, in ${one.in}`, one.description));
    parts.push(element("h3", "Parameters"), element("table", ...rows));
  }
  if (schema !== undefined) {
    parts.push(element("h3", "Request body"), fields(api, schema));
  }
  parts.push(element("h3", "Responses"), ...responses(api, operation.responses));
  parts.push(element("h3", "Try it"), form(api, method, path, parameters, schema));
  return parts;
}

function responses(api, all) {
  return Object.entries(all).flatMap(([status, given]) => {
    const answer = resolve(api, given);
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    const heading = prose(answer.description);
    heading.prepend(element("strong", status === "default" ? "error" : status), " ");
    return schema === undefined ? [heading] : [heading, fields(api, schema)];
  });
}

function row(name, required, kind, description) {
  const cell = element("td", element("code", name));
  if (required) {
    const mark = element("span", " required");
    mark.className = "required";
    cell.append(mark);
  }
  return element("tr", cell, element("td", kind), element("td", prose(description)));
}

function resolve(api, given) {
  const name = given?.$ref;
  return name === undefined ? given : name.slice(2).split("/").reduce((at, key) => at?.[key], api);
}

// The schema without references and without the alternative `null`.
function plain(api, given) {
  const schema = resolve(api, given) ?? {};
  const choices = (schema.oneOf ?? schema.anyOf)?.filter((one) => one.type !== "null");
  return choices?.length === 1 ? { ...plain(api, choices[0]), description: schema.description } : schema;
}

function type(api, given) {
  const schema = plain(api, given);
  if (schema.enum !== undefined) {
    return schema.enum.map((word) => JSON.stringify(word)).join(" | ");
  }
  const kinds = [schema.type ?? "any"].flat().filter((kind) => kind !== "null");
  const kind = kinds.includes("array") ? `list of ${type(api, schema.items)}` : kinds.join(" or ");
  const bounds = [["minimum", "at least"], ["maximum", "at most"], ["maxLength", "at most characters:"]]
    .filter(([key]) => schema[key] !== undefined)
    .map(([key, words]) => `${words} ${schema[key]}`);
  return [schema.format ? `${kind} (${schema.format})` : kind, ...bounds].join(", ");
}

// A table of the members of an object, those of its objects included.
function fields(api, given) {
  const rows = members(api, given, "", 0);
  return rows.length > 0 ? element("table", ...rows) : element("p", type(api, given));
}

function members(api, given, path, depth) {
  const schema = plain(api, given);
  if (depth > DEEPEST) {
    return [];
  }
  const parts = [...(schema.allOf ?? []), ...(schema.oneOf ?? schema.anyOf ?? [])];
  const below = parts.flatMap((part) => members(api, part, path, depth + 1));
  if (schema.items !== undefined) {
    below.push(...members(api, schema.items, `${path}[]`, depth + 1));
  }
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    const full = path === "" ? name : `${path}.${name}`;
    const described = member.description ?? plain(api, member).description;
    below.push(row(full, schema.required?.includes(name), type(api, member), described));
    below.push(...members(api, member, full, depth + 1));
  }
  return below;
}

// A value that the schema accepts: required members only.
function example(api, given, depth = 0) {
  const schema = plain(api, given);
  const known = schema.example ?? schema.examples?.[0] ?? schema.default ?? schema.enum?.[0];
  if (known !== undefined || depth > DEEPEST) {
    return known ?? null;
  }
  const choice = (schema.oneOf ?? schema.anyOf)?.[0];
  if (choice !== undefined) {
    return example(api, choice, depth + 1);
  }
  if (schema.allOf !== undefined) {
    return Object.assign({}, ...schema.allOf.map((part) => example(api, part, depth + 1)));
  }
  switch ([schema.type].flat()[0]) {
    case "object": {
      const names = Object.keys(schema.properties ?? {}).filter((name) => schema.required?.includes(name));
      return Object.fromEntries(names.map((name) => [name, example(api, schema.properties[name], depth + 1)]));
    }
    case "array":
      return [example(api, schema.items, depth + 1)];
    case "integer":
    case "number":
      return schema.minimum ?? 1;
    case "boolean":
      return true;
    default:
      return schema.format === "date-time" ? new Date().toISOString() : "text";
  }
}

function form(api, method, path, parameters, schema) {
  const inputs = parameters.filter((one) => one.in !== "cookie").map((one) => {
    const input = element("input");
    input.required = one.required === true;
    return { ...one, input };
  });
  const text = schema === undefined ? undefined : element("textarea");
  if (text !== undefined) {
    text.value = JSON.stringify(example(api, schema), null, 2);
    text.rows = Math.min(20, text.value.split("\n").length + 1);
    text.setAttribute("aria-label", "Request body");
  }
  const output = element("pre");
  output.hidden = true;
  const rows = inputs.map(({ name, input }) =>
    element("tr", element("td", element("label", element("code", name), " ", input))));
  const made = element("form", element("table", ...rows), text, element("p", element("button", "Send")), output);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.hidden = false;
    output.textContent = "...";
    output.textContent = await send(method, path, inputs, text?.value).catch((error) => String(error));
  });
  return made;
}

async function send(method, path, inputs, text) {
  const query = new URLSearchParams();
  const headers = authorization();
  let place = path;
  for (const { name, in: where, input } of inputs.filter(({ input }) => input.value !== "")) {
    if (where === "path") {
      place = place.replace(`{${name}}`, encodeURIComponent(input.value));
    } else if (where === "query") {
      query.append(name, input.value);
    } else {
      headers[name] = input.value;
    }
  }
  if (text !== undefined) {
    headers["content-type"] = "application/json";
  }
  const url = `..${place}${query.size > 0 ? `?${query}` : ""}`;
  const answer = await fetch(url, { method: method.toUpperCase(), headers, body: text });
  const received = await answer.text();
  return `${answer.status} ${answer.statusText}\n\n${pretty(received)}`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
