// What every page shares: the API client, how a form sends itself and shows what was wrong with it,
// and the small pages in front of the account. The dashboard's own part is dashboard.js.

import { announce, sent, shownUser } from "./session.js";

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- The API ---------------------------------------------------------------------------------

/** The readable CSRF token, whatever prefix the cookie has in production. */
export function csrfToken() {
  for (const pair of document.cookie.split("; ")) {
    const at = pair.indexOf("=");
    if (at > 0 && /^(__Host-|__Secure-)?csrf_token$/.test(pair.slice(0, at))) return pair.slice(at + 1);
  }
  return null;
}

/** What a failed request means, in the shape the pages show: problem+json, or our words for a broken line. */
export class Failure extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title ?? "Something went wrong.");
    this.status = problem.status ?? 0;
    this.code = problem.code ?? "";
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.retryAfter = problem.retryAfter ?? null;
    this.requestId = problem.request_id ?? null;
    this.challenge = problem.challenge ?? null;
  }
}

async function send(method, path, body) {
  const headers = { accept: "application/json, application/problem+json" };
  const csrf = csrfToken();
  if (csrf !== null) headers["x-csrf-token"] = csrf;
  if (shownUser() !== null) headers["x-trellis-user"] = shownUser();
  const file = body instanceof Blob;
  if (body !== undefined) headers["content-type"] = file ? body.type : "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined || file ? body : JSON.stringify(body), credentials: "same-origin", cache: "no-store", redirect: "error" });
  } catch {
    throw new Failure({ code: "unreachable", detail: "We cannot reach the server. Check your connection and try again." });
  }
  const json = /\bjson\b/.test(response.headers.get("content-type") ?? "");
  const data = json ? await response.json().catch(() => null) : null;
  if (response.ok) return data;
  throw new Failure({ status: response.status, ...data, retryAfter: response.headers.get("retry-after") });
}

// Several requests may find the access token expired at once: one refresh serves them all.
let refreshing = null;
function refresh() {
  refreshing ??= send("POST", "/api/token/refresh/").finally(() => { refreshing = null; });
  return refreshing;
}

/** Calls the API. A `session` call whose access token has expired refreshes it once and tries again. */
export async function call(method, path, body, { session = false } = {}) {
  try {
    return await send(method, path, body);
  } catch (failure) {
    if (!session || failure.code !== "unauthenticated") throw failure;
    // Refused as well: then nobody is signed in any more. Any other failure says so itself.
    await refresh().catch((refused) => { throw [401, 403].includes(refused.status) ? failure : refused; });
    return send(method, path, body);
  }
}

// --- Words -----------------------------------------------------------------------------------

function waitText(retryAfter) {
  if (!retryAfter) return "";
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : Math.ceil((Date.parse(retryAfter) - Date.now()) / 1000);
  if (!Number.isFinite(seconds)) return "";
  if (seconds <= 1) return "Try again in a second.";
  if (seconds < 120) return `Try again in ${seconds} seconds.`;
  return `Try again in ${Math.ceil(seconds / 60)} minutes.`;
}

/** A failure in words for the person in front of the page. */
export function failureText(failure) {
  const wait = waitText(failure.retryAfter);
  if (failure.status === 429) return `That was a little too often. ${wait}`.trim();
  if (failure.status === 503) return `The server is busy at this moment. ${wait}`.trim();
  if (failure.code === "csrf_failed") return "This page is out of date. Reload it and try again.";
  if (failure.status >= 500) return `Something went wrong on our side.${failure.requestId ? ` When you ask for help, say: ${failure.requestId}` : ""}`;
  return failure.message;
}

// --- Forms -----------------------------------------------------------------------------------

const errorOf = (field) => document.getElementById(`${field.id}-error`);

function clearField(field) {
  field.removeAttribute("aria-invalid");
  const place = errorOf(field);
  if (place) place.textContent = "";
}

function markField(field, text) {
  field.setAttribute("aria-invalid", "true");
  const place = errorOf(field);
  if (place) place.textContent = text;
}

/** Shows a text in the alert at the top of a form or a page; an empty one clears it. */
export function summarise(root, text) {
  const place = find("[data-summary]", root);
  place.textContent = text;
  if (text) place.scrollIntoView({ block: "nearest" });
}

/** Puts each error beside its field, the rest into the summary, and the focus on the first field that is wrong. */
export function showFailure(form, failure) {
  const rest = [];
  const secret = find("input[autocomplete=current-password]", form);
  const errors = [...failure.errors];
  const detail = failure.message.replace(/[^.]$/, "$&.");
  if (failure.code === "email_taken") errors.push({ pointer: "/email", detail });
  if (failure.code === "username_taken") errors.push({ pointer: "/username", detail });
  if (failure.code === "invalid_code") errors.push({ pointer: "/code", detail: "This code is not right, or was used before. Wait for the next one." });
  if (failure.code === "invalid_credentials") {
    if (form.elements.namedItem("identifier")) rest.push("This name and password do not match.");
    else errors.push({ pointer: `/${secret.name}`, detail: "This is not your password." });
  }
  for (const error of errors) {
    const field = form.elements.namedItem(String(error.pointer ?? "").replace(/^\//, ""));
    if (field instanceof HTMLElement && field.type !== "hidden") {
      if (field.getAttribute("aria-invalid") !== "true") markField(field, error.detail ?? error.code);
    } else {
      rest.push(error.detail ?? error.code);
    }
  }
  const wrong = all("[aria-invalid=true]", form);
  if (rest.length > 0) summarise(form, rest.join(" "));
  else if (wrong.length > 0) summarise(form, wrong.length === 1 ? "One field needs another look." : `${wrong.length} fields need another look.`);
  else summarise(form, failureText(failure));
  (wrong[0] ?? (rest.length > 0 ? secret : null))?.focus();
}

/** Wires a form: `submit` gets its values and the button that was pressed, and may throw a Failure. */
export function wireForm(form, submit) {
  const button = find("button[type=submit]", form);
  const label = button.textContent;
  form.addEventListener("input", (event) => clearField(event.target));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") return;
    const fields = all("input[name]:enabled, textarea[name]:enabled, select[name]:enabled", form);
    fields.forEach(clearField);
    summarise(form, "");
    const empty = fields.filter((field) => field.required && field.value === "");
    if (empty.length > 0) {
      showFailure(form, new Failure({ errors: empty.map((field) => ({ pointer: `/${field.name}`, detail: "Please fill this in." })) }));
      return;
    }
    button.setAttribute("aria-disabled", "true");
    button.textContent = "One moment…";
    try {
      const chosen = fields.filter((field) => field.type !== "radio" || field.checked);
      const value = (field) => (field.type === "checkbox" ? field.checked : field.value);
      await submit(Object.fromEntries(chosen.map((field) => [field.name, value(field)])), event.submitter);
      sent(form);
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      showFailure(form, failure);
    } finally {
      button.removeAttribute("aria-disabled");
      button.textContent = label;
    }
  });
}

/** Shows one step of a page in place of the others and takes the focus to its heading. */
function showStep(name) {
  for (const step of all("[data-step]")) step.hidden = step.dataset.step !== name;
  find(`[data-step=${name}] h1`).focus();
}

/** Writes a text into every place that asks for it. */
export function fill(name, text) {
  for (const place of all(`[data-fill=${name}]`)) place.textContent = text;
}

// --- The pages in front of the account -------------------------------------------------------

/** The token of a mail link. It leaves the address bar at once, and survives a reload of this tab only. */
function takeToken() {
  const token = new URL(location.href).searchParams.get("token");
  if (token) {
    history.replaceState({ token }, "", location.pathname);
    return token;
  }
  return history.state?.token ?? null;
}

/** A form that spends the token of a mail link. */
function wireToken(form, spend) {
  const token = takeToken();
  if (!token) return showStep("spent");
  return wireForm(form, async (values) => {
    try {
      await spend(token, values);
    } catch (failure) {
      const broken = failure instanceof Failure && failure.errors.some((error) => error.pointer === "/token");
      if (failure.code !== "invalid_token" && !broken) throw failure;
      history.replaceState(null, "");
      showStep("spent");
      return;
    }
    history.replaceState(null, "");
    showStep("done");
  });
}

/** What became of the code that somebody registered with. */
function invitation(referral) {
  if (!referral) return "The invitation link was not valid any more. Your account does not need it.";
  if (referral.status === "pending") return "You were invited by a friend. It counts for you both once your address is confirmed.";
  return "The invitation does not count, as it seems to be your own.";
}

// A path of ours that a link names, to go on to; nothing for whatever a browser might take for anybody else's.
function ownPath(text) {
  if (!/^\/(?![/\\])[!-\[\]-~]*$/.test(text ?? "")) return null;
  return new URL(text, location.origin).origin === location.origin ? text : null;
}

/** Where the page's own address says to go on after the login. */
const next = () => ownPath(new URLSearchParams(location.search).get("next"));

const forms = {
  register(form) {
    const code = form.elements.referral_code;
    const invited = code.value;
    wireForm(form, async ({ referral_code, ...account }) => {
      // A code that came with the link must not stand in the way of an account; one that was typed is checked.
      const typed = referral_code.trim();
      const fromLink = typed !== "" && typed === invited;
      const path = fromLink ? `/api/register/?referral=${encodeURIComponent(typed)}` : "/api/register/";
      const reply = await call("POST", path, typed && !fromLink ? { ...account, referral_code: typed } : account);
      fill("email", account.email.trim());
      if (typed && reply && "referral" in reply) {
        fill("referral", invitation(reply.referral));
        for (const place of all("[data-fill=referral]")) place.hidden = false;
      }
      showStep("done");
    });
  },
  login(form) {
    const enter = ({ user }) => {
      announce(user.id);
      location.assign(next() ?? "/dashboard");
    };
    const second = find("form[data-form=login-factor]");
    let challenge = null;
    const ask = (given) => {
      challenge = given;
      showStep("factor");
      second.elements.code.focus();
    };
    wireForm(form, async (values) => {
      let reply;
      try {
        reply = await call("POST", "/api/login/", values);
      } catch (failure) {
        if (failure.code !== "second_factor_required") throw failure;
        return ask(failure.challenge);
      }
      enter(reply);
    });
    wireForm(second, async ({ code }) => {
      let reply;
      try {
        reply = await call("POST", "/api/login/factor/", { challenge, code });
      } catch (failure) {
        if (failure.code !== "invalid_challenge") throw failure;
        second.reset();
        showStep("form");
        return summarise(form, "That took too long. Please log in once more.");
      }
      enter(reply);
    });
    // Whoever signed in elsewhere is sent here for the second step. A fragment is sent to no server, and leaves at once.
    const given = new URLSearchParams(location.hash.slice(1)).get("challenge");
    if (given) {
      history.replaceState(null, "", location.pathname + location.search);
      ask(given);
    }
  },
  "forgot-password"(form) {
    wireForm(form, async (values) => {
      await call("POST", "/api/forgot-password/", values);
      fill("email", values.email.trim());
      showStep("done");
    });
  },
  "reset-password"(form) {
    wireToken(form, (token, { password }) => call("POST", "/api/reset-password/", { token, password }));
  },
  "register-confirm"(form) {
    wireToken(form, (token, { password, username }) => {
      const name = username.trim();
      return call("POST", "/api/register/confirm/", name ? { token, password, username: name } : { token, password });
    });
  },
  report(form) {
    wireForm(form, async ({ page, reason, detail }) => {
      const name = encodeURIComponent(page.trim().replace(/^@/, ""));
      await call("POST", `/api/u/${name}/report/`, { reason, detail: detail.trim() || null });
      showStep("done");
    });
  },
  "verify-email"(form) {
    wireToken(form, async (token) => {
      // The session that comes with the request stays, all others end: so the access token must not have expired.
      if (csrfToken() !== null) await call("GET", "/api/me/", undefined, { session: true }).catch(() => null);
      await call("POST", "/api/verify-email/", { token });
    });
  },
};

// The way to an identity provider takes along where to go on, and a code that was typed, which is checked like the form's.
for (const link of all("a[data-provider]")) {
  link.addEventListener("click", () => {
    const field = find("#referral_code");
    const url = new URL(link.href);
    const typed = field?.value.trim() ?? "";
    if (typed !== (url.searchParams.get("referral") ?? "")) url.search = typed === "" ? "" : `?referral_code=${encodeURIComponent(typed)}`;
    if (next() !== null) url.searchParams.set("next", next());
    link.href = url.href;
  });
}

for (const form of all("form[data-form]")) forms[form.dataset.form]?.(form);

for (const button of all("[data-reveal]")) {
  const field = document.getElementById(button.dataset.reveal);
  const name = button.getAttribute("aria-label").replace(/^Show /, "");
  button.addEventListener("click", () => {
    const show = field.type === "password";
    field.type = show ? "text" : "password";
    button.textContent = show ? "Hide" : "Show";
    button.setAttribute("aria-label", `${button.textContent} ${name}`);
  });
}

// The markup comes with its buttons off, so that nothing is sent before this script can send it.
for (const button of all("form[data-form] button, [data-action=logout]")) button.disabled = false;

if (csrfToken() !== null) {
  for (const item of all("[data-when=out]")) item.hidden = true;
  for (const item of all("[data-when=in]")) item.hidden = false;
}
