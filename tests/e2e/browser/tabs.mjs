// Several tabs, a session that ends while a person types, and a second host name (cases/accounts 17, 18 and 27).
//
//   BASE_URL      where Trellis is, as its PUBLIC_URL has it
//   SCREENSHOTS   where pictures of the changed pages go, if anywhere

import assert from "node:assert/strict";
import { launch, step } from "./launch.mjs";
import { Visitor, until } from "./visitor.mjs";

const base = process.env.BASE_URL;
const run = Date.now().toString(36);
const person = (name) => ({ name: `${name}-${run}`, email: `${name}-${run}@example.test`, password: `salty ${name} harbour ${run}` });
const [ada, bob] = [person("ada"), person("bob")];

for (const { name, email, password } of [ada, bob]) {
  const body = JSON.stringify({ username: name, email, password });
  const reply = await fetch(`${base}/api/register/`, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal(reply.status, 201);
}

const browser = await launch("--host-resolver-rules=MAP www.localhost 127.0.0.1");
const picture = async (visitor, name) => {
  if (!process.env.SCREENSHOTS) return;
  for (const [screen, width] of [["phone", 360], ["desk", 1200]]) {
    await visitor.page.setViewportSize({ width, height: 900 });
    await visitor.page.evaluate(() => scrollTo(0, 0));
    await visitor.page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${screen}.png` });
  }
};

async function login(visitor, { name, password }) {
  await visitor.fill({ "E-mail address or username": name, "Password": password });
  await visitor.press("Log in");
  await visitor.sees(`Hello, ${name}`);
}

/** A second tab of the same browser. */
const tab = async (visitor) => new Visitor(base, await visitor.page.context().newPage());
const enter = async () => {
  const visitor = await Visitor.enter(browser, base);
  await visitor.open("/login");
  await login(visitor, ada);
  return visitor;
};

async function typeBio(visitor, text) {
  await visitor.page.locator("main[aria-busy=false]").waitFor();
  await until("the editor is ready", () => visitor.page.locator("[data-add=link]").isEnabled());
  await visitor.page.getByText("About you").click();
  await visitor.fill({ "A few lines (optional)": text });
}

const bioOf = (visitor) => visitor.page.evaluate(async () => (await (await fetch("/api/profile/")).json()).bio);
const bioShows = (visitor, text) => until(`the form has "${text}"`, async () => (await visitor.page.locator("#bio").inputValue().catch(() => "")) === text);

await step("a page of A does not write into the account of B", async () => {
  const first = await enter();
  const second = await tab(first);
  await second.open("/dashboard");
  await second.sees(`Hello, ${ada.name}`);
  await typeBio(second, "Only for Ada.");
  // By calls alone, of which no tab tells the others.
  await first.page.evaluate(async ({ name, password }) => {
    const csrf = document.cookie.split("; ").find((pair) => pair.includes("csrf_token=")).split("=")[1];
    const json = { "content-type": "application/json" };
    await fetch("/api/logout/", { method: "POST", headers: { "x-csrf-token": csrf } });
    await fetch("/api/login/", { method: "POST", headers: json, body: JSON.stringify({ identifier: name, password }) });
  }, bob);
  await second.page.getByRole("button", { name: "Save", exact: true }).filter({ visible: true }).click();
  await second.sees(`You are logged in as ${bob.name} now`);
  await second.sees("It is kept in this tab until you log in as");
  await second.sees(`Hello, ${bob.name}`);
  await picture(second, "account-changed");
  assert.equal(await bioOf(second), "");
  // The text comes back with its account.
  await second.press("Log out");
  await second.sees("How inviting works");
  await second.open("/login");
  await login(second, ada);
  await bioShows(second, "Only for Ada.");
  await second.sees("What you typed before is back.");
  await picture(second, "text-restored");
  assert.equal(await bioOf(second), "");
});

await step("tabs learn that the session ended, and keep the text", async () => {
  const first = await enter();
  const second = await tab(first);
  await second.open("/dashboard#page");
  await second.sees(`Hello, ${ada.name}`);
  await second.page.locator("main[aria-busy=false]").waitFor();
  await until("the editor is ready", () => second.page.locator("[data-add=link]").isEnabled());
  await second.press("Add a link");
  await second.fill({ "Title": "Half a link", "Address": "https://half.example/" });
  await first.press("Log out");
  await first.sees("How inviting works");
  await second.sees("Welcome back");
  assert.equal(second.page.url(), `${base}/login?next=%2Fdashboard%23page`);
  await login(second, ada);
  assert.equal(second.page.url(), `${base}/dashboard#page`);
  await until("the dialog is open again", () => second.page.getByRole("dialog").isVisible());
  assert.equal(await second.field("Title").inputValue(), "Half a link");
  assert.equal(await second.field("Address").inputValue(), "https://half.example/");
  await second.page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await second.sees("Half a link is saved.");
});

await step("a session that ends while a person types loses nothing", async () => {
  const visitor = await enter();
  await typeBio(visitor, "A long text.\nWith two lines.");
  await visitor.page.context().clearCookies();
  await visitor.page.getByRole("button", { name: "Save", exact: true }).filter({ visible: true }).click();
  await visitor.sees("Welcome back");
  await login(visitor, ada);
  await bioShows(visitor, "A long text.\nWith two lines.");
  await visitor.page.getByRole("button", { name: "Save", exact: true }).filter({ visible: true }).click();
  await visitor.sees("Your page is saved.");
  assert.equal(await bioOf(visitor), "A long text.\nWith two lines.");
  // Nothing is left to restore.
  await visitor.page.reload();
  await visitor.sees(`Hello, ${ada.name}`);
  assert.equal(await visitor.page.evaluate(() => sessionStorage.length), 0);
});

await step("the login goes on to pages of this site only", async () => {
  for (const [next, path] of [["//evil.example", "/dashboard"], ["/\\evil.example", "/dashboard"], ["https://evil.example", "/dashboard"], ["javascript:alert(1)", "/dashboard"], ["/problems", "/problems"]]) {
    const visitor = await Visitor.enter(browser, base);
    await visitor.open(`/login?next=${encodeURIComponent(next)}`);
    await visitor.fill({ "E-mail address or username": ada.name, "Password": ada.password });
    await visitor.press("Log in");
    await visitor.page.waitForURL(`${base}${path}`);
    await visitor.page.context().close();
  }
});

await step("a password manager's link ends at the form", async () => {
  const visitor = await Visitor.enter(browser, base);
  await visitor.open("/.well-known/change-password");
  await visitor.sees("Welcome back");
  await picture(visitor, "login");
  await login(visitor, ada);
  assert.equal(visitor.page.url(), `${base}/dashboard#change-password`);
  await until("the form is open", () => visitor.field("New password").isVisible());
});

await step("a lost CSRF cookie comes back, also after the access token expired", async () => {
  const visitor = await enter();
  await visitor.page.context().clearCookies({ name: /csrf_token$/ });
  await visitor.page.reload();
  await visitor.sees(`Hello, ${ada.name}`);
  await visitor.press("Log out");
  await visitor.sees("How inviting works");
});

await step("a second host name leads to the public one", async () => {
  const visitor = await Visitor.enter(browser, base);
  const { port } = new URL(base);
  await visitor.page.goto(`http://www.localhost:${port}/login?next=/problems`);
  assert.equal(visitor.page.url(), `${base}/login?next=/problems`);
  // The other name of this machine works as it is.
  const other = `http://127.0.0.1:${port}`;
  const local = await Visitor.enter(browser, other);
  await local.open("/login");
  await login(local, ada);
  await local.press("Log out");
  await local.sees("How inviting works");
});

await browser.close();
