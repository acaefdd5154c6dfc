// The second step at login, as the dashboard sets it up, shows it and takes it away.
// Secrets and recovery codes live in the page only while they are shown.

import { call, Failure, failureText, fill, summarise, wireForm } from "./app.js";
import { account, isOver, leave } from "./session.js";

const find = (selector, root = document) => root.querySelector(selector);
const root = find("#second-step");
const session = { session: true };
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const date = (text) => day.format(new Date(text));

let passwordNeeded = true;

function say(text) {
  find("[data-status=factor]").textContent = text;
}

/** Shows one state of the second step in place of the others. */
function show(name) {
  for (const state of root.querySelectorAll("[data-factor]")) state.hidden = state.dataset.factor !== name;
}

/** A call that a form of this page makes. The page is left when its session is over. */
async function change(method, path, values) {
  // An account without a password has nothing to type.
  if (values && !passwordNeeded) delete values.password;
  try {
    return await call(method, path, values, session);
  } catch (failure) {
    if (isOver(failure)) leave(failure);
    throw failure;
  }
}

function forget() {
  for (const form of root.querySelectorAll("form")) form.reset();
  find("[data-qr]", root).removeAttribute("src");
  fill("factor-secret", "");
  find("[data-list=recovery-codes]").replaceChildren();
}

async function load() {
  const reply = await change("GET", "/api/me/factors/");
  passwordNeeded = reply.password_needed;
  for (const field of root.querySelectorAll("input[name=password]")) {
    field.required = passwordNeeded;
    field.closest(".field").hidden = !passwordNeeded;
  }
  const [factor] = reply.factors;
  forget();
  fill("factor", factor ? "on" : "off");
  find(".badge[data-fill=factor]").classList.toggle("successful", Boolean(factor));
  if (factor) {
    fill("factor-added", date(factor.created_at));
    fill("factor-used", date(factor.last_used_at));
    fill("factor-left", String(reply.recovery_codes_left));
  }
  show(factor ? "on" : "off");
}

function showCodes(codes) {
  forget();
  const items = codes.map((code) => {
    const item = document.createElement("li");
    item.append(document.createElement("code"));
    item.firstChild.textContent = code;
    return item;
  });
  find("[data-list=recovery-codes]").replaceChildren(...items);
  show("codes");
  find("[data-factor=codes] h3").focus();
}

wireForm(find("[data-form=add-factor]"), async (values) => {
  say("");
  const offer = await change("POST", "/api/me/factors/totp/", values);
  find("[data-qr]", root).src = `data:image/svg+xml,${encodeURIComponent(offer.qr_svg)}`;
  fill("factor-secret", offer.secret.match(/.{1,4}/g).join(" "));
  show("pending");
  find("#factor_code").focus();
});

wireForm(find("[data-form=confirm-factor]"), async (values) => {
  try {
    const reply = await change("POST", "/api/me/factors/totp/confirm/", values);
    showCodes(reply.recovery_codes);
  } catch (failure) {
    if (failure.code !== "not_found") throw failure;
    await load();
    summarise(find("[data-form=add-factor]"), "That took too long. Please set the app up once more.");
  }
});

wireForm(find("[data-form=change-factor]"), async (values, button) => {
  say("");
  if (button?.value === "remove") {
    await change("DELETE", "/api/me/factors/totp/", values);
    await load();
    find("#second-step summary").focus();
    say("The second step is switched off.");
  } else {
    const reply = await change("POST", "/api/me/factors/recovery-codes/", values);
    showCodes(reply.recovery_codes);
  }
});

/** What goes wrong outside a form is said below. */
function fail(failure) {
  if (!(failure instanceof Failure)) throw failure;
  say(failureText(failure));
}

find("[data-action=codes-kept]").addEventListener("click", async () => {
  await load().catch(fail);
  find("#second-step summary").focus();
  say("The second step is on: the next login asks for a code.");
});

await account;
await load().catch(fail);
