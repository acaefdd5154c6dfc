// The public page in a real browser: every theme, on a phone and on a desk, in light and in dark, with a keyboard alone,
// without scripts. axe finds nothing, an HTML validator finds nothing, the card is a picture of the right size, and the
// QR code, read by somebody else's reader, leads to the page. Pictures of what was seen go to SCREENSHOTS, for eyes.
//
// `make page-test` starts an api and a worker of its own and this. It makes accounts with names of its own.
//   BASE_URL   where Trellis is, as its PUBLIC_URL has it
//   MAIL_DIR   where its mails go
//   API        the binary, for `api admin adjust`
//   CHROMIUM   the browser (looked for in the usual places)

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import axe from "axe-core";
import { HtmlValidate } from "html-validate";
import jsQR from "jsqr";
import { chromium } from "playwright-core";
import { PNG } from "pngjs";

const { BASE_URL: base, MAIL_DIR: mails, API: api, SCREENSHOTS: pictures } = process.env;
const browsers = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
const executablePath = process.env.CHROMIUM ?? browsers.find(existsSync);
assert.ok(executablePath, "no Chromium found: install it, or set CHROMIUM to its path");
mkdirSync(pictures, { recursive: true });

const run = Date.now().toString(36);
const ada = { username: `ada-${run}`, email: `ada-${run}@example.test`, password: `salty ada harbour ${run}` };
const themes = ["paper", "slate", "meadow", "dusk", "coral", "harbour", "aurora"];
const screens = { phone: { width: 360, height: 740 }, desk: { width: 1280, height: 900 } };

async function step(title, work) {
  const begun = Date.now();
  await work();
  console.log(`ok  ${title} (${Date.now() - begun} ms)`);
}

async function until(what, ask) {
  const end = Date.now() + 15_000;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `still waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

let token;
async function send(method, path, body, type = "application/json") {
  const headers = { "content-type": type, ...(token && { authorization: `Bearer ${token}` }), "idempotency-key": `${method}${path}${Math.random()}` };
  const sent = type === "application/json" ? JSON.stringify(body) : body;
  const reply = await fetch(base + path, { method, headers, body: sent });
  const text = await reply.text();
  assert.ok(reply.ok, `${method} ${path}: ${reply.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

async function picture(path) {
  const reply = await fetch(base + path);
  assert.equal(reply.status, 200, path);
  return Buffer.from(await reply.arrayBuffer());
}

await step("somebody registers, confirms, and has a page", async () => {
  await send("POST", "/api/register/", ada);
  const link = await until("the mail arrives", () => {
    const texts = existsSync(mails) ? readdirSync(mails).filter((name) => name.endsWith(".eml")).map((name) => readFileSync(`${mails}/${name}`, "utf8")) : [];
    const plain = texts.map((text) => text.replace(/=\r?\n/g, "").replace(/=3D/g, "="));
    return plain.find((text) => text.includes(ada.email))?.match(/verify-email\?token=([A-Za-z0-9_-]+)/);
  });
  await send("POST", "/api/verify-email/", { token: link[1] });
  const login = await send("POST", "/api/login/", { identifier: ada.username, password: ada.password, transport: "bearer" });
  token = login.access_token;
});

await step("the page is filled as people fill pages", async () => {
  const sky = new PNG({ width: 640, height: 480 });
  for (let at = 0; at < 640 * 480; at += 1) sky.data.set([40 + (at % 640) / 4, 90 + at / 3000, 200 - (at % 640) / 8, 255], at * 4);
  const file = PNG.sync.write(sky);
  await send("PUT", "/api/profile/avatar/", file, "image/png");
  const social = [["mastodon", "https://social.example/@ada"], ["github", "https://github.com/ada"], ["email", "mailto:ada@example.test"]];
  await send("PATCH", "/api/profile/", {
    display_name: "Ada 🎉 Lovelace",
    bio: "Mathematician, and the first programmer.\nNotes on the Analytical Engine.",
    social: social.map(([network, url]) => ({ network, url })),
  });
  const links = [
    { title: "My shop", url: "https://shop.example/", pinned: true, highlighted: true },
    { title: "Notes on the Analytical Engine, with the table of operations that computes Bernoulli's numbers", url: "https://notes.example/" },
    { kind: "header", title: "Elsewhere" },
    { title: "הבלוג שלי", url: "https://blog.example/" },
    { title: "مدونتي", url: "https://blog.example/ar" },
    { title: "👩‍🔬 Laboratory", url: "https://lab.example/" },
    { title: "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihung", url: "https://long.example/" },
    { title: "Call me", url: "tel:+4989123456" },
  ];
  const made = [];
  for (const link of links) made.push(await send("POST", "/api/links/", link));
  await send("PUT", `/api/links/${made[1].id}/thumbnail/`, file, "image/png");
  // The last theme wants premium, which credits buy.
  const me = await (await fetch(`${base}/api/me/`, { headers: { authorization: `Bearer ${token}` } })).json();
  execFileSync(api, ["admin", "adjust", me.id, "200.00", "--reason", "a test of the page"], { stdio: "pipe" });
  await send("POST", "/api/rewards/redeem/", { option: "premium_7_days" });
});

const quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args: process.getuid?.() === 0 ? [...quiet, "--no-sandbox"] : quiet });
const path = `/@${ada.username}`;
const validator = new HtmlValidate({ extends: ["html-validate:standard", "html-validate:a11y"], root: true });

async function valid(html, what) {
  const report = await validator.validateString(html);
  const found = report.results.flatMap((result) => result.messages).map((message) => `${message.line}:${message.column} ${message.ruleId}: ${message.message}`);
  assert.deepEqual(found, [], `the HTML of ${what}`);
}

async function enter(options) {
  const context = await browser.newContext({ bypassCSP: false, ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  page.on("request", (request) => request.url().startsWith(base) || faults.push(`fetched ${request.url()}`));
  return { context, page, faults };
}

for (const theme of themes) {
  await step(`${theme}: on a phone and on a desk, in light and in dark`, async () => {
    await send("PATCH", "/api/profile/", { theme });
    const html = await until("the theme shows", async () => {
      const text = await (await fetch(base + path)).text();
      return text.includes(`data-theme="${theme}"`) && text;
    });
    await valid(html, theme);
    writeFileSync(`${pictures}/${theme}.html`, html);
    for (const [screen, viewport] of Object.entries(screens)) {
      for (const colorScheme of ["light", "dark"]) {
        const { context, page, faults } = await enter({ viewport, colorScheme });
        await page.goto(base + path);
        await page.getByRole("heading", { level: 1, name: "Ada 🎉 Lovelace" }).waitFor();
        // As tall as the page, so that a background that stays in place fills it.
        await page.setViewportSize({ ...viewport, height: await page.evaluate(() => document.documentElement.scrollHeight) });
        await page.screenshot({ path: `${pictures}/${theme}-${screen}-${colorScheme}.png` });
        await page.setViewportSize(viewport);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(wide <= 0, `${theme} is ${wide} pixels too wide on a ${screen}`);
        const targets = await page.evaluate(() => [...document.querySelectorAll("main a, nav a, footer a")].map((link) => link.getBoundingClientRect()).filter((box) => box.height < 24 || box.width < 24).length);
        assert.equal(targets, 0, "every target is large enough for a finger (WCAG 2.5.8)");
        await page.evaluate(axe.source);
        const report = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        const found = report.violations.map((rule) => `${rule.impact} ${rule.id}: ${rule.nodes.map((node) => node.target.join(" ")).join(", ")}`);
        assert.deepEqual(found, [], `axe: ${theme}, ${screen}, ${colorScheme}`);
        assert.deepEqual(faults, []);
        await context.close();
      }
    }
  });
}

await step("nothing but a keyboard leads to every link, in the order they are read, and shows where one is", async () => {
  const { context, page } = await enter({ viewport: screens.desk });
  await page.goto(base + path);
  const here = () => page.evaluate(() => {
    const at = document.activeElement;
    const style = getComputedStyle(at);
    return { tag: at.tagName, text: at.textContent.trim(), id: at.id, ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, box: at.getBoundingClientRect().toJSON() };
  });
  await page.keyboard.press("Tab");
  const skip = await here();
  assert.match(skip.text, /Skip to the links/);
  assert.ok(skip.box.top >= 0, "the way past the heading shows when it has the focus");
  await page.screenshot({ path: `${pictures}/keyboard-skip.png` });
  await page.keyboard.press("Enter");
  assert.equal((await here()).id, "links");
  const expected = await page.evaluate(() => [...document.querySelectorAll("main a, nav a, footer a")].map((link) => link.textContent.trim()));
  assert.ok(expected.length >= 11, `${expected.length} links`);
  for (const text of expected) {
    await page.keyboard.press("Tab");
    const at = await here();
    assert.equal(at.text, text);
    assert.ok(at.ring, `the focus shows on ${text}`);
  }
  await page.keyboard.press("Shift+Tab");
  await page.screenshot({ path: `${pictures}/keyboard-focus.png`, fullPage: true });
  await context.close();
});

await step("without scripts the page says and leads to the same", async () => {
  const { context, page } = await enter({ viewport: screens.phone, javaScriptEnabled: false });
  await page.goto(base + path);
  assert.equal(await page.getByRole("main").getByRole("link").count(), 7);
  assert.equal(await page.getByRole("link", { name: "Make your own page" }).count(), 1);
  for (const href of await page.getByRole("main").getByRole("link").evaluateAll((links) => links.map((link) => link.getAttribute("href")))) {
    assert.match(href, /^\/l\/[0-9a-f-]{36}$/);
  }
  await context.close();
});

await step("somebody reports the page from its foot", async () => {
  const { context, page } = await enter({ viewport: screens.phone });
  await page.goto(base + path);
  await page.getByRole("link", { name: "Report this page" }).click();
  assert.equal(await page.getByLabel("Page").inputValue(), path.slice(2));
  await valid(await (await fetch(page.url())).text(), "report");
  await page.getByRole("button", { name: "Report it" }).click();
  await page.getByText("Please fill this in.").waitFor();
  await page.evaluate(axe.source);
  const report = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(report.violations.map((rule) => rule.id), []);
  await page.screenshot({ path: `${pictures}/report.png`, fullPage: true });
  await page.getByLabel("What is wrong").selectOption("scam");
  await page.getByLabel("In your words").fill("It asks for the password of my bank.");
  await page.getByRole("button", { name: "Report it" }).click();
  await page.getByRole("heading", { name: "Thank you" }).waitFor();
  await context.close();
});

await step("text at twice its size still fits a phone", async () => {
  const { context, page } = await enter({ viewport: { width: 320, height: 640 } });
  await page.goto(base + path);
  await page.evaluate(() => document.documentElement.style.setProperty("font-size", "200%"));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${wide} pixels too wide`);
  await page.screenshot({ path: `${pictures}/large-text.png`, fullPage: true });
  await context.close();
});

await step("a name that has no page is told so, in HTML that is valid and without a fault", async () => {
  const { context, page } = await enter({ viewport: screens.phone });
  const reply = await page.goto(`${base}/@nobody-${run}`);
  assert.equal(reply.status(), 404);
  await valid(await reply.text(), "nobody");
  writeFileSync(`${pictures}/nobody.html`, await reply.text());
  await page.evaluate(axe.source);
  const report = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(report.violations.map((rule) => rule.id), []);
  await page.screenshot({ path: `${pictures}/nobody.png`, fullPage: true });
  await context.close();
});

await step("the card is a picture of 1200x630, as the page says", async () => {
  const html = await (await fetch(base + path)).text();
  const meta = (name) => html.match(new RegExp(`property="${name}" content="([^"]*)"`))?.[1];
  const card = await picture(new URL(meta("og:image")).pathname);
  writeFileSync(`${pictures}/card.png`, card);
  const { width, height } = PNG.sync.read(card);
  assert.deepEqual([width, height], [1200, 630]);
  assert.deepEqual([meta("og:image:width"), meta("og:image:height"), meta("og:image:type")], ["1200", "630", "image/png"]);
});

await step("somebody else's reader reads the QR codes", async () => {
  for (const size of [128, 512, 2048]) {
    const code = PNG.sync.read(await picture(`/api/u/${ada.username}/qr.png?size=${size}`));
    assert.equal(jsQR(Uint8ClampedArray.from(code.data), code.width, code.height)?.data, base + path, `${size}`);
  }
  const { context, page } = await enter({ viewport: { width: 600, height: 600 } });
  await page.goto(`${base}/api/u/${ada.username}/qr.svg`);
  const drawn = PNG.sync.read(await page.screenshot({ path: `${pictures}/qr.png` }));
  assert.equal(jsQR(Uint8ClampedArray.from(drawn.data), drawn.width, drawn.height)?.data, base + path);
  await context.close();
});

await browser.close();
console.log(`The page holds. What was seen is in ${pictures}`);
