// The example front end on a sibling origin, in Chromium (cases/accounts 11): the page at app.trellis.test, the API at
// api.trellis.test, the session in cookies.
//
//   API_PORT, APP_PORT   where the api listens, and where the page is served
//   BASE_URL             another address of the same database's api, to register at

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { launch, step } from "./launch.mjs";
import { until } from "./visitor.mjs";

const { API_PORT, APP_PORT, BASE_URL } = process.env;
const [api, app] = [`http://api.trellis.test:${API_PORT}`, `http://app.trellis.test:${APP_PORT}`];
const run = Date.now().toString(36);
const ada = { username: `sib-${run}`, email: `sib-${run}@example.test`, password: `salty sibling harbour ${run}` };

const server = createServer(async (request, response) => {
  const name = request.url === "/app.js" ? "app.js" : "index.html";
  const text = await readFile(new URL(`sibling/${name}`, import.meta.url), "utf8");
  response.setHeader("content-type", name === "app.js" ? "text/javascript" : "text/html");
  response.end(text.replace("https://api.trellis.example", api));
});
await new Promise((done) => server.listen(Number(APP_PORT), "127.0.0.1", done));

const json = { "content-type": "application/json" };
const registered = await fetch(`${BASE_URL}/api/register/`, { method: "POST", headers: json, body: JSON.stringify(ada) });
assert.equal(registered.status, 201);

const browser = await launch("--host-resolver-rules=MAP *.trellis.test 127.0.0.1");
const context = await browser.newContext();
context.setDefaultTimeout(15_000);
const page = await context.newPage();
const faults = [];
page.on("pageerror", (error) => faults.push(error.message));
const press = (name) => page.getByRole("button", { name, exact: true }).click();
const says = (text) => page.getByRole("status").getByText(text, { exact: true }).waitFor();
const isHome = () => page.getByText(`Hello, ${ada.username}`).waitFor();
const save = async (name) => {
  await page.getByLabel("Name on your page").fill(name);
  await press("Save");
  await says("Saved.");
};

await step("a page of a sibling origin logs in and changes something", async () => {
  await page.goto(`${app}/`);
  await page.getByLabel("Username").fill(ada.username);
  await page.getByLabel("Password").fill(ada.password);
  await press("Log in");
  await isHome();
  await save("Ada");
});

await step("it goes on after a reload, also without a token of its own", async () => {
  await page.reload();
  await isHome();
  await save("Ada Lovelace");
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await isHome();
  await save("Ada King");
});

await step("it refreshes, by itself too", async () => {
  const before = (await context.cookies(`${api}/api/token/`)).find(({ name }) => name.endsWith("refresh_token")).value;
  await press("Refresh");
  await says("Refreshed.");
  const after = (await context.cookies(`${api}/api/token/`)).find(({ name }) => name.endsWith("refresh_token")).value;
  assert.notEqual(after, before);
  await context.clearCookies({ name: /access_token$/ });
  await page.reload();
  await isHome();
  await until("the name is back", async () => (await page.getByLabel("Name on your page").inputValue()) === "Ada King");
});

await step("it logs out", async () => {
  await press("Log out");
  await says("Logged out.");
  await page.reload();
  await page.getByLabel("Username").waitFor();
  const left = (await context.cookies(api)).map(({ name }) => name);
  assert.deepEqual(left.filter((name) => /access|refresh|csrf/.test(name)), []);
});

assert.deepEqual(faults, []);
await browser.close();
server.close();
