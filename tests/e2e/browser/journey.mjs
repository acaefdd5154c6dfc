// The main job of Trellis in a real browser: register, confirm, invite, earn, recover, leave.
//
// Needs Node 20 and Chromium, and an api and a worker that run in development on one machine. `make browser-test` starts
// them and this. It makes accounts with names of its own, so it may run again on the same database, such as that of
// `make run`.
//   BASE_URL   where Trellis is, as its PUBLIC_URL has it (http://localhost:8080)
//   CHROMIUM   the browser (looked for in the usual places)

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { launch, step } from "./launch.mjs";
import { Visitor, until } from "./visitor.mjs";

const base = (process.env.BASE_URL ?? "http://localhost:8080").replace(/\/$/, "");
await fetch(`${base}/health/live`).catch(() => assert.fail(`nothing answers at ${base}: start \`make run\` first`));

const run = Date.now().toString(36);
const person = (name) => ({ name: `${name}-${run}`, email: `${name}-${run}@example.test`, password: `salty ${name} harbour ${run}` });
const ada = person("ada");
const grace = person("grace");

const browser = await launch();

const adas = await Visitor.enter(browser, base);
const graces = await Visitor.enter(browser, base, { dark: true, narrow: true });
let invitation;

await step("what is wrong with a registration is said beside each field", async () => {
  await adas.open("/");
  await adas.looks();
  await adas.follow("Create your account");
  await adas.press("Create account");
  await adas.sees("3 fields need another look.");
  assert.equal(await adas.error("Password"), "Please fill this in.");
  await adas.fill({ "E-mail address": "nonsense", "Username": "a", "Password": "password", "Referral code (optional)": "nosuchcode" });
  await adas.press("Create account");
  await adas.sees("4 fields need another look.");
  await adas.hasFocus("E-mail address");
  for (const label of ["E-mail address", "Username", "Password", "Referral code (optional)"]) assert.match(await adas.error(label), /\w+\.$/, label);
  await adas.fill({ "Username": "admin" });
  assert.equal(await adas.field("Username").getAttribute("aria-invalid"), null, "typing takes the mark away");
});

await step("a person registers and confirms by the mail's button", async () => {
  await adas.fill({ "E-mail address": ada.email, "Username": ada.name, "Password": ada.password, "Referral code (optional)": "" });
  await adas.page.getByRole("button", { name: "Show password" }).click();
  assert.equal(await adas.field("Password").getAttribute("type"), "text");
  await adas.press("Create account");
  await adas.sees("Check your mailbox");
  await adas.openMail(ada.email, /confirm/i);
  await adas.page.frameLocator("iframe").getByRole("link").filter({ hasText: /confirm/i }).first().click();
  await adas.sees("Press the button to tell us that this mailbox is yours.");
  assert.equal(adas.page.url(), `${base}/verify-email`, "the token left the address bar");
  await adas.press("Confirm my address");
  await adas.sees("Your address is confirmed");
});

await step("the same name and address are refused beside their fields", async () => {
  await graces.open("/register");
  await graces.fill({ "E-mail address": ada.email, "Username": grace.name, "Password": grace.password });
  await graces.press("Create account");
  await graces.sees("One field needs another look.");
  assert.match(await graces.error("E-mail address"), /account/);
  await graces.fill({ "E-mail address": grace.email, "Username": ada.name });
  await graces.press("Create account");
  await until("the username is marked", async () => (await graces.field("Username").getAttribute("aria-invalid")) === "true");
  assert.match(await graces.error("Username"), /taken/);
});

await step("a wrong password is refused, the right one leads home", async () => {
  await adas.open("/dashboard");
  await adas.sees("Welcome back");
  await adas.fill({ "E-mail address or username": ada.name, "Password": "not it at all" });
  await adas.press("Log in");
  await adas.sees("This name and password do not match.");
  await adas.hasFocus("Password");
  await adas.fill({ "Password": ada.password });
  await adas.press("Log in");
  await adas.sees(`Hello, ${ada.name}`);
  await adas.sees("Nobody yet.");
  assert.equal(await adas.page.getByText("Confirm your e-mail address").isVisible(), false);
  await adas.press("Copy link");
  await adas.sees("Copied");
  invitation = await adas.page.evaluate(() => navigator.clipboard.readText());
  assert.ok(invitation.startsWith(`${base}/r/`), invitation);
});

await step("a friend does it all with the keyboard, in the dark, on a small screen", async () => {
  const { page } = graces;
  await page.goto(invitation);
  await graces.sees("Create your account");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  await graces.type("E-mail address", grace.email);
  await graces.type("Username", grace.name);
  await graces.type("Password", grace.password);
  await page.keyboard.press("Enter");
  await graces.sees("You were invited by a friend.");
  await graces.openMail(grace.email, /confirm/i);
  const link = page.getByRole("region", { name: "The message as text" }).getByRole("link").first();
  await link.focus();
  await page.keyboard.press("Enter");
  await graces.sees("Press the button to tell us that this mailbox is yours.");
  await page.reload();
  await graces.tabTo("Confirm my address");
  await page.keyboard.press("Enter");
  await graces.sees("Your address is confirmed");
  await graces.tabTo("Go to your dashboard");
  await page.keyboard.press("Enter");
  await graces.sees("Welcome back");
  await graces.type("E-mail address or username", grace.email);
  await graces.type("Password", grace.password);
  await page.keyboard.press("Enter");
  await graces.sees(`Hello, ${grace.name}`);
});

/** What an authenticator app shows now (RFC 6238). */
function totp(key) {
  const bits = [...key].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac("sha1", Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))).update(counter).digest();
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, "0");
}

const tile = (visitor, name) => visitor.page.locator(".tiles div").filter({ hasText: name }).locator("dd");

await step("both see their rewards", async () => {
  for (const [visitor, credits] of [[adas, "10"], [graces, "5"]]) {
    await until(`${credits} credits`, async () => {
      await visitor.page.reload();
      await visitor.page.locator("main[aria-busy=false]").waitFor();
      return (await tile(visitor, "Credits").innerText()) === credits;
    });
    await visitor.sees(`${credits} credits`);
  }
  const friend = adas.page.getByRole("region", { name: "Friends you invited" }).getByRole("listitem").filter({ hasText: grace.name });
  assert.match(await friend.innerText(), /Counts/);
  assert.equal(await tile(adas, "Friends who count").innerText(), "1");
  assert.equal(await tile(adas, "Invitation visits").innerText(), "1");
  await adas.sees("30 days of premium");
});

await step("an expired access token is renewed without a word", async () => {
  await adas.page.context().clearCookies({ name: /access_token$/ });
  await adas.page.reload();
  await adas.sees(`Hello, ${ada.name}`);
});

await step("a page is made and put in order with the keyboard alone", async () => {
  const { page } = adas;
  const press = (key) => page.keyboard.press(key);
  const rows = () => page.locator("[data-list=links] .who").allInnerTexts();
  await adas.open("/dashboard#page");
  await adas.sees("No links yet.");
  for (const [title, url] of [["Shop", "shop.example/"], ["Blog", "https://blog.example/"], ["Write to me", "mailto:ada@example.org"]]) {
    await page.getByRole("button", { name: "Add a link" }).focus();
    await press("Enter");
    await page.getByRole("dialog").waitFor();
    await adas.hasFocus("Title");
    await page.keyboard.type(title);
    await adas.type("Address", url);
    await press("Enter");
    await adas.sees(`${title} is saved.`);
  }
  assert.deepEqual(await rows(), ["Shop", "Blog", "Write to me"]);
  assert.match(await page.locator("[data-list=links] .meta").first().innerText(), /^https:\/\/shop\.example\//);

  // What is wrong is said in the dialog, which stays.
  await page.getByRole("button", { name: "Add a link" }).focus();
  await press("Enter");
  await page.keyboard.type("Bad");
  await adas.type("Address", "javascript:alert(1)");
  await press("Enter");
  await adas.sees("One field needs another look.");
  await adas.hasFocus("Address");
  await press("Escape");

  await page.getByRole("button", { name: "Move up: Write to me" }).focus();
  await press("Enter");
  await adas.sees("Write to me is number 2 of 3.");
  await press("Enter");
  await adas.sees("Write to me is number 1 of 3.");
  assert.deepEqual(await rows(), ["Write to me", "Shop", "Blog"]);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Move down: Write to me", "the focus stays with the row");
  await press("Enter");
  await adas.sees("Write to me is number 2 of 3.");
  page.once("dialog", (question) => question.accept());
  await page.getByRole("button", { name: "Delete: Blog" }).focus();
  await press("Enter");
  await adas.sees("Blog is deleted.");

  await page.getByText("About you").focus();
  await press("Enter");
  await adas.looks();
  const picture = await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
    canvas.getContext("2d").fillRect(0, 0, 40, 40);
    const blob = await new Promise((done) => canvas.toBlob(done));
    return [...new Uint8Array(await blob.arrayBuffer())];
  });
  await adas.field("Picture (optional)").setInputFiles({ name: "ada.png", mimeType: "image/png", buffer: Buffer.from(picture) });
  await adas.sees("The picture is saved.");
  await adas.fill({ "Name (optional)": "Ada Lovelace", "A few lines (optional)": "First.\nSecond." });
  await page.getByLabel("Meadow").focus();
  await press("Space");
  assert.ok(await page.getByLabel("Aurora (premium)").isDisabled());
  await page.getByRole("button", { name: "Add a place" }).focus();
  await press("Enter");
  await page.getByLabel("Network").selectOption("GitHub");
  await page.getByLabel("Address").filter({ visible: true }).fill("https://github.com/ada");
  await page.getByRole("button", { name: "Save", exact: true }).filter({ visible: true }).focus();
  await press("Enter");
  await adas.sees("Your page is saved.");

  const stranger = await Visitor.enter(browser, base, { dark: true, narrow: true, javaScriptEnabled: false });
  await until("the page shows it", async () => {
    await stranger.open(`/@${ada.name}`);
    return (await stranger.page.getByRole("heading", { name: "Ada Lovelace" }).count()) > 0;
  });
  assert.deepEqual(await stranger.page.locator(".links .title").allInnerTexts(), ["Shop", "Write to me"]);
  assert.equal(await stranger.page.locator("html").getAttribute("data-theme"), "meadow");
  assert.ok(await stranger.page.locator("img.avatar").evaluate((image) => image.complete && image.naturalWidth === 400));
});

await step("a public page can be read in every theme, by light and in the dark", async () => {
  for (const narrow of [false, true]) {
    for (const dark of [false, true]) {
      const visitor = await Visitor.enter(browser, base, { dark, narrow });
      await visitor.open(`/@${ada.name}`);
      for (const theme of ["paper", "slate", "meadow", "dusk", "coral", "harbour", "aurora"]) {
        await visitor.page.evaluate((name) => { document.documentElement.dataset.theme = name; }, theme);
        await visitor.looks();
        if (process.env.SCREENSHOTS) await visitor.page.screenshot({ path: `${process.env.SCREENSHOTS}/${theme}-${dark ? "dark" : "light"}-${narrow ? "phone" : "desk"}.png` });
      }
      await visitor.tabTo("Skip to the links");
      await visitor.page.keyboard.press("Enter");
      await visitor.tabTo("Shop");
    }
  }
});

await step("the password changes on the dashboard", async () => {
  await adas.open("/.well-known/change-password");
  await adas.fill({ "Current password": "not it at all", "New password": `${ada.password} two` });
  await adas.press("Change password");
  await until("the current password is marked", async () => (await adas.field("Current password").getAttribute("aria-invalid")) === "true");
  assert.equal(await adas.error("Current password"), "This is not your password.");
  await adas.fill({ "Current password": ada.password });
  await adas.press("Change password");
  await adas.sees("Your password is changed.");
  ada.password += " two";
});

await step("a forgotten password is replaced, once, and every device is logged out", async () => {
  const phone = await Visitor.enter(browser, base, { narrow: true });
  await phone.open("/login");
  await phone.follow("Forgot your password?");
  await phone.fill({ "E-mail address": ada.email });
  await phone.press("Send the link");
  await phone.sees("Check your mailbox");
  await phone.openMail(ada.email, /password/i);
  const mail = phone.page.url();
  await phone.page.frameLocator("iframe").getByRole("link").filter({ hasText: /password/i }).first().click();
  await phone.sees("Choose a new password");
  assert.equal(phone.page.url(), `${base}/reset-password`, "the token left the address bar");
  await phone.fill({ "New password": "password" });
  await phone.press("Save the new password");
  await phone.sees("One field needs another look.");
  await phone.hasFocus("New password");
  ada.password += " three";
  await phone.fill({ "New password": ada.password });
  await phone.press("Save the new password");
  await phone.sees("Your password is changed");

  await phone.page.goto(mail);
  await phone.page.frameLocator("iframe").getByRole("link").filter({ hasText: /password/i }).first().click();
  await phone.fill({ "New password": ada.password });
  await phone.press("Save the new password");
  await phone.sees("This link does not work");

  await adas.page.reload();
  await adas.sees("Welcome back");
  await adas.fill({ "E-mail address or username": ada.email, "Password": ada.password });
  await adas.press("Log in");
  await adas.sees(`Hello, ${ada.name}`);
});

await step("a second step is switched on, asked for and switched off", async () => {
  const { page } = adas;
  await adas.open("/dashboard#second-step");
  await adas.sees("With an authenticator app");
  await adas.fill({ "Password": "not it at all" });
  await adas.press("Set up an app");
  await until("the password is marked", async () => (await adas.field("Password").getAttribute("aria-invalid")) === "true");
  await adas.fill({ "Password": ada.password });
  await adas.press("Set up an app");
  await adas.sees("Scan this with the app");
  assert.ok(await page.getByRole("img", { name: "QR code" }).evaluate((image) => image.complete && image.naturalWidth > 0));
  const key = (await page.locator("[data-fill=factor-secret]").innerText()).replaceAll(" ", "");
  await adas.fill({ "Code that the app shows": "000 00" });
  await adas.press("Switch it on");
  await adas.sees("One field needs another look.");
  const first = totp(key);
  await adas.fill({ "Code that the app shows": first });
  await adas.press("Switch it on");
  await adas.sees("Your recovery codes");
  const codes = await page.locator("[data-list=recovery-codes] code").allInnerTexts();
  assert.equal(new Set(codes).size, 10);
  await adas.press("I have kept them");
  await adas.sees("The second step is on");
  assert.equal(await page.getByText(codes[0]).count(), 0, "the codes left the page");

  // With the keyboard alone, on a small screen.
  const phone = await Visitor.enter(browser, base, { narrow: true });
  await phone.open("/login");
  await phone.type("E-mail address or username", ada.email);
  await phone.type("Password", ada.password);
  await phone.page.keyboard.press("Enter");
  await phone.sees("One more step");
  await phone.hasFocus("Code");
  await phone.page.keyboard.type(first);
  await phone.page.keyboard.press("Enter");
  await phone.sees("One field needs another look.");
  assert.match(await phone.error("Code"), /used before/, "the code that switched it on is used");
  await phone.hasFocus("Code");
  await phone.fill({ "Code": codes[0] });
  await phone.page.keyboard.press("Enter");
  await phone.sees(`Hello, ${ada.name}`);

  // A challenge that somebody is sent on with.
  const guest = await Visitor.enter(browser, base);
  await guest.open("/login#challenge=old");
  await guest.sees("One more step");
  assert.equal(guest.page.url(), `${base}/login`, "the challenge left the address bar");
  await guest.fill({ "Code": codes[1] });
  await guest.press("Continue");
  await guest.sees("That took too long.");
  await guest.sees("Welcome back");

  await adas.fill({ "Password": ada.password, "Code of the app, or a recovery code": codes[2] });
  await adas.press("Make new recovery codes");
  await adas.sees("Your recovery codes");
  const renewed = await page.locator("[data-list=recovery-codes] code").allInnerTexts();
  assert.ok(renewed.every((code) => !codes.includes(code)));
  await adas.press("I have kept them");
  await adas.sees("The second step is on");
  await adas.fill({ "Password": ada.password, "Code of the app, or a recovery code": renewed[0] });
  await adas.press("Switch it off");
  await adas.sees("The second step is switched off.");
});

await step("a limit, a busy server and a lost line are told apart", async () => {
  const guest = await Visitor.enter(browser, base, { dark: true });
  await guest.open("/forgot-password");
  await guest.fill({ "E-mail address": "someone@example.test" });
  const problem = (status, code) => ({ status, contentType: "application/problem+json", headers: { "retry-after": "42" }, body: JSON.stringify({ status, code, title: "x", detail: "x" }) });
  for (const [answer, words] of [
    [(route) => route.fulfill(problem(429, "rate_limited")), "That was a little too often. Try again in 42 seconds."],
    [(route) => route.fulfill(problem(503, "overloaded")), "The server is busy at this moment. Try again in 42 seconds."],
    [(route) => route.abort(), "We cannot reach the server."],
  ]) {
    await guest.page.route("**/api/forgot-password/", answer);
    await guest.press("Send the link");
    await guest.sees(words);
    await guest.page.unroute("**/api/forgot-password/");
  }
});

await step("broken links, unknown codes and missing scripts are explained", async () => {
  const guest = await Visitor.enter(browser, base);
  for (const path of ["/verify-email", "/reset-password", "/register/confirm"]) {
    await guest.open(path);
    await guest.sees("This link does not work");
  }
  await guest.open("/problems");
  await guest.looks();
  await guest.page.getByRole("link", { name: "rate_limited" }).click();
  await guest.sees("Too many requests");

  const plain = await Visitor.enter(browser, base, { javaScriptEnabled: false });
  for (const path of ["/register", "/login", "/dashboard"]) {
    await plain.open(path);
    await plain.page.locator(".noscript").waitFor();
    assert.equal(await plain.page.locator("form button:not([disabled])").count(), 0, "nothing to press without scripts");
  }
});

await step("logging out and leaving for good", async () => {
  await graces.press("Log out");
  await graces.sees("How inviting works");
  await graces.open("/dashboard");
  await graces.sees("Welcome back");

  await adas.open("/dashboard#delete-account");
  await adas.sees(`Hello, ${ada.name}`);
  await adas.fill({ "Your password": "not it at all" });
  await adas.press("Delete my account for good");
  await until("the password is marked", async () => (await adas.field("Your password").getAttribute("aria-invalid")) === "true");
  await adas.fill({ "Your password": ada.password });
  await adas.press("Delete my account for good");
  await adas.sees("How inviting works");
  await adas.open("/login");
  await adas.fill({ "E-mail address or username": ada.email, "Password": ada.password });
  await adas.press("Log in");
  await adas.sees("This name and password do not match.");
});

await browser.close();
