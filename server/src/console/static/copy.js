// Buttons that copy the texts of "Copy as". Without this file, a person selects the text.

// Only the browser knows the address that it uses.
for (const text of document.querySelectorAll("[data-copy-text]")) {
  const named = text.textContent.replaceAll('"$TASKCENTER_SERVER', `"${location.origin}`);
  const isCommand = named.startsWith("taskcenter ");
  // The option belongs to the first word of the command.
  text.textContent = isCommand ? named.replace(/^taskcenter \S+/, `$& --server=${location.origin}`) : named;
}
for (const hint of document.querySelectorAll("[data-copy-hint]")) hint.textContent = hint.dataset.copyHint;

async function copy(button) {
  await navigator.clipboard.writeText(button.parentElement.querySelector("[data-copy-text]").textContent);
  const word = button.firstElementChild;
  const label = word.textContent;
  if (label === button.dataset.copied) return;
  word.textContent = button.dataset.copied;
  setTimeout(() => { word.textContent = label; }, 1500);
}

// Browsers offer the clipboard on secure pages only.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
}
