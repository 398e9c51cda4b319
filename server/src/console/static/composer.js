// The form for tasks: next moments while a person types, and a schedule out of words and choices.
// Without this file, buttons of the form do the same.

const form = document.querySelector("form[data-preview]");
const region = form?.querySelector('[data-region="preview"]');
const WAIT_MS = 400;
/** Fields that the preview depends on. */
const SCHEDULE = [
  "kind", "start", "end", "period", "unit", "cron", "zone", "max_fires", "away_from", "away_to", "policy",
];
const CHOICES = ["phrase", "rhythm", "c_every", "c_minute", "c_time", "c_weekday", "c_day"];
let timer;
let latest = 0;
/** What the next preview composes. Another field may change before that. */
let pending = "";
/** Number of the last preview that composes. */
let composing = 0;

function query(compose) {
  const values = new URLSearchParams();
  for (const name of compose ? [...SCHEDULE, ...CHOICES] : SCHEDULE) {
    const value = form.elements[name]?.value;
    if (value) values.set(name, value);
  }
  if (compose) values.set("compose", compose);
  return values;
}

/** Takes over the schedule that the server has composed: a cron expression, or a fixed period. */
function take({ cron, period, unit }) {
  form.elements.kind.value = cron ? "cron" : "every";
  if (cron) form.elements.cron.value = cron;
  else [form.elements.period.value, form.elements.unit.value] = [period, unit];
}

/** Shows the preview. After a choice, the answer has the schedule. */
async function preview() {
  const number = ++latest;
  const compose = pending;
  pending = "";
  if (compose) composing = number;
  try {
    const answer = await fetch(`${form.dataset.preview}?${query(compose)}`, { redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.body.firstElementChild;
    if (!fresh || !fresh.matches("div")) return;
    const isComposed = number === composing && (fresh.dataset.cron || fresh.dataset.period);
    if (isComposed) take(fresh.dataset);
    // An earlier answer may arrive later.
    if (number !== latest) return isComposed ? preview() : undefined;
    region.replaceChildren(...document.adoptNode(fresh).childNodes);
  } catch {
    // The button shows the moments too.
  }
}

/** Shows the fields that belong to the rhythm. */
function showChoices() {
  for (const part of form.querySelectorAll("[data-for]")) {
    part.hidden = !part.dataset.for.split(" ").includes(form.elements.rhythm.value);
  }
}

function changed(event) {
  const name = event.target.name;
  const isChoice = CHOICES.includes(name);
  if (!isChoice && !SCHEDULE.includes(name)) return;
  if (isChoice) form.elements.kind.value = "cron";
  if (name === "rhythm") showChoices();
  if (isChoice) pending = name === "phrase" ? "phrase" : "choices";
  // What a person types into the field of the expression counts.
  if (name === "cron") [pending, composing] = ["", 0];
  clearTimeout(timer);
  timer = setTimeout(preview, WAIT_MS);
}

/** The Enter key in a choice composes, and does not send the form. */
function entered(event) {
  if (event.key !== "Enter" || event.isComposing || !CHOICES.includes(event.target.name)) return;
  event.preventDefault();
  clearTimeout(timer);
  form.elements.kind.value = "cron";
  pending = event.target.name === "phrase" ? "phrase" : "choices";
  preview();
}

if (form) {
  form.addEventListener("input", changed);
  form.addEventListener("keydown", entered);
  showChoices();
}
