// Completion of the filter line: keys, states and known names as buttons below the line.
// Without this file, the line is a plain field.

const input = document.querySelector("input[data-suggest]");
const zh = document.documentElement.lang === "zh";
const MOST = 8;
let words;
let panel;

/** Reads the known words once. */
async function load() {
  if (words) return;
  words = { keys: [], values: {} };
  try {
    const answer = await fetch(`/console/filter-words?path=${encodeURIComponent(input.dataset.suggest)}`);
    if (answer.ok) words = await answer.json();
  } catch {
    // The line works without suggestions.
  }
  if (input.value) show();
}

/** Returns where the word at the cursor begins: after the last space that is not in quotes. */
function begin(text) {
  let at = 0;
  let quoted = false;
  for (let place = 0; place < text.length; place += 1) {
    if (quoted && text[place] === "\\") place += 1;
    else if (text[place] === '"' && (quoted || /[\s:]/.test(text[place - 1] ?? " "))) quoted = !quoted;
    else if (!quoted && /\s/.test(text[place])) at = place + 1;
  }
  return at;
}

/** Writes a value, with quotes if it needs them, as the server does. */
function write(value) {
  return /\s|^"|^$/.test(value) ? `"${value.replace(/[\\"]/g, "\\$&")}"` : value;
}

/** Returns the completions of a word. */
function complete(word) {
  const colon = word.indexOf(":");
  if (colon < 0) {
    const keys = words.keys.map((key) => (key === "label.key" ? "label." : `${key}:`));
    const names = word ? (words.values[words.keys[0]] ?? []).map(write) : [];
    return [...keys, ...names].filter((text) => text.startsWith(word) && text !== word);
  }
  const key = word.slice(0, colon + 1);
  const values = words.values[key.slice(0, -1)] ?? [];
  return values.map((value) => key + write(value)).filter((text) => text.startsWith(word) && text !== word);
}

function close() {
  panel?.remove();
  panel = undefined;
}

function show() {
  close();
  if (!words || document.activeElement !== input) return;
  const end = input.selectionStart ?? input.value.length;
  const at = begin(input.value.slice(0, end));
  const found = complete(input.value.slice(at, end)).slice(0, MOST);
  if (found.length === 0) return;
  panel = document.createElement("div");
  panel.className = "suggest";
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", zh ? "建议" : "Suggestions");
  for (const text of found) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn quiet mono";
    button.textContent = text;
    button.addEventListener("click", () => take(at, end, text));
    panel.append(button);
  }
  input.parentElement.append(panel);
}

/** Replaces the word at the cursor. A key waits for its value. */
function take(at, end, text) {
  const after = /[:.]$/.test(text) ? text : `${text} `;
  input.value = input.value.slice(0, at) + after + input.value.slice(end).trimStart();
  input.focus();
  input.setSelectionRange(at + after.length, at + after.length);
  show();
}

/** Moves the focus between the line and the suggestions. */
function move(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape" && panel) {
    event.preventDefault();
    event.stopPropagation();
    input.focus();
    close();
  }
  if (!step) return;
  if (!panel) return show();
  event.preventDefault();
  const stops = [input, ...panel.children];
  const next = stops[stops.indexOf(document.activeElement) + step];
  next?.focus();
}

if (input) {
  const box = input.parentElement;
  input.addEventListener("focus", load);
  input.addEventListener("input", show);
  box.addEventListener("keydown", move);
  box.addEventListener("focusout", (event) => {
    if (!box.contains(event.relatedTarget)) close();
  });
}
