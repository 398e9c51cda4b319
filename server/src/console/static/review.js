// The form before a retry: it shows the changes of the payload while a person types, and asks the server for the digest of
// what it shows. Without this file, a page shows the changes first.

const form = document.querySelector("form:has([data-review])");
const region = form?.querySelector("[data-review]");
const WAIT_MS = 400;
let timer;
let latest = 0;

async function review() {
  const number = ++latest;
  const body = new URLSearchParams(new FormData(form));
  body.delete("reviewed");
  body.set("review", "1");
  try {
    const answer = await fetch(form.getAttribute("action"), { method: "POST", body, redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // An earlier answer may arrive later.
    if (number !== latest) return;
    const parts = [".diff", 'input[name="reviewed"]'].map((part) => page.querySelector(`form ${part}`));
    region.replaceChildren(...parts.filter(Boolean).map((part) => document.adoptNode(part)));
  } catch {
    // The button shows the changes on a page of its own.
  }
}

form?.elements.data?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(review, WAIT_MS);
});
