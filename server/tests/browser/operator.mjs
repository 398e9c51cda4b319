// An operator whose steps are counted, as docs/compare.md defines a step.

/** Everything that an operator does with a page is one step. Looking is none. */
export class Operator {
  constructor(page, url) {
    this.page = page;
    this.url = url;
    this.steps = 0;
  }

  /** Opens the page where a task begins. No step. */
  async begin(path) {
    await this.page.goto(this.url + path);
    this.steps = 0;
  }

  /** Follows a link, presses a button, or ticks a box. */
  async press(name, { role = "link", within = this.page } = {}) {
    this.steps += 1;
    await within.getByRole(role, { name, exact: typeof name === "string" }).click();
  }

  /** Fills in a field. */
  async fill(field, text) {
    this.steps += 1;
    await field.fill(text);
  }

  /** Presses a key. */
  async key(name) {
    this.steps += 1;
    await this.page.keyboard.press(name);
  }

  /** Waits until the page shows a text, an element, or a row. No step. */
  async sees(what, within = this.page) {
    const found = typeof what === "string" || what instanceof RegExp ? within.getByText(what).first() : what;
    await found.waitFor({ timeout: 20_000 });
  }

  /** Types into the field that finds tasks on the overview, and submits. */
  async find(line) {
    await this.fill(this.page.getByRole("searchbox", { name: "Find tasks" }), line);
    await this.key("Enter");
    await this.page.waitForURL(/console\/tasks\?q=/);
  }

  /** Returns the row of a list. */
  row(text) {
    return this.page.getByRole("row").filter({ hasText: text });
  }
}
