// A person in front of a browser: one visitor is one browser profile, with its cookies and its mail.
//
// Whatever a visitor does, every page it sees is checked: nothing breaks the content security policy or throws, nothing
// is fetched from elsewhere, no token leaves in a Referer, nothing overflows sideways, and axe finds no fault.

import assert from "node:assert/strict";
import axe from "axe-core";

const LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export class Visitor {
  constructor(base, page) {
    this.base = base;
    this.page = page;
    this.faults = [];
    page.on("pageerror", (error) => this.faults.push(`${page.url()}: ${error.message}`));
    page.on("console", (message) => {
      // The browser logs every answer that is not 2xx; such answers are part of the journey.
      if (message.type() === "error" && !/Failed to load resource/.test(message.text())) this.faults.push(`${page.url()}: ${message.text()}`);
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(base) && !request.url().startsWith("data:")) this.faults.push(`fetched ${request.url()}`);
      if (/token=/.test(request.headers().referer ?? "")) this.faults.push(`a token in the Referer of ${request.url()}`);
    });
  }

  static async enter(browser, base, { dark = false, narrow = false, ...options } = {}) {
    const context = await browser.newContext({
      colorScheme: dark ? "dark" : "light",
      viewport: narrow ? { width: 360, height: 740 } : { width: 1200, height: 800 },
      permissions: ["clipboard-read", "clipboard-write"],
      ...options,
    });
    context.setDefaultTimeout(15_000);
    return new Visitor(base, await context.newPage());
  }

  async open(path) {
    await this.page.goto(this.base + path);
  }

  /** Waits until the page says this, and looks at the page then. */
  async sees(text) {
    await this.page.getByText(text).filter({ visible: true }).first().waitFor();
    await this.looks();
  }

  /** The checks of every page. */
  async looks() {
    const wide = await this.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${this.page.url()} is ${wide} pixels too wide`);
    await this.page.evaluate(axe.source);
    const report = await this.page.evaluate((levels) => window.axe.run(document, { iframes: false, runOnly: levels }), LEVELS);
    const found = report.violations.map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.target.join(" ")).join(", ")}`);
    assert.deepEqual(found, [], `axe at ${this.page.url()}`);
    assert.deepEqual(this.faults, []);
  }

  async fill(values) {
    for (const [label, value] of Object.entries(values)) await this.field(label).fill(value);
  }

  field(label) {
    return this.page.getByLabel(label, { exact: true }).filter({ visible: true });
  }

  async press(name) {
    await this.page.getByRole("button", { name, exact: true }).click();
  }

  async follow(name) {
    await this.page.getByRole("main").getByRole("link", { name, exact: true }).click();
  }

  /** The error beside a field: it is tied to the field, and the field says that it is wrong. */
  async error(label) {
    const field = this.field(label);
    assert.equal(await field.getAttribute("aria-invalid"), "true", `${label} is marked`);
    const [id] = (await field.getAttribute("aria-describedby")).split(" ");
    return this.page.locator(`#${id}`).innerText();
  }

  async hasFocus(label) {
    assert.ok(await this.field(label).evaluate((field) => field === document.activeElement), `${label} has the focus`);
  }

  /** Opens the newest mail to an address with this subject, as soon as it has come. */
  async openMail(address, subject) {
    const mail = this.page.getByRole("link").filter({ hasText: address }).filter({ hasText: subject });
    await until(`a mail "${subject}" to ${address}`, async () => {
      await this.open("/dev/mail");
      return (await mail.count()) > 0;
    });
    await this.looks();
    await mail.first().click();
    await this.page.getByRole("heading", { level: 1 }).waitFor();
    await this.looks();
  }

  /** Types with the keyboard alone: Tab to whatever has this name, then keys. */
  async tabTo(name) {
    for (let steps = 0; steps < 40; steps += 1) {
      await this.page.keyboard.press("Tab");
      const reached = await this.page.evaluate((name) => {
        const element = document.activeElement;
        const label = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
        const outlined = getComputedStyle(element).outlineStyle !== "none";
        if (label.trim() !== name) return "no";
        return outlined ? "yes" : "unseen";
      }, name);
      assert.notEqual(reached, "unseen", `${name} has the focus and does not show it`);
      if (reached === "yes") return;
    }
    assert.fail(`Tab never reached ${name} at ${this.page.url()}`);
  }

  async type(name, text) {
    await this.tabTo(name);
    await this.page.keyboard.type(text);
  }
}

/** Asks until it is so; the deadline is for what will never be so. */
export async function until(what, isSo) {
  const deadline = Date.now() + 20_000;
  while (!(await isSo())) assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
}
