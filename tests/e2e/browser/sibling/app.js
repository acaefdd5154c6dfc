// A front end at https://app.trellis.example for an API at https://api.trellis.example (its PUBLIC_URL), whose
// ALLOWED_ORIGINS names https://app.trellis.example. The tokens are in cookies that no script reads; the CSRF token comes with
// the login and with GET /api/me/, since a script cannot read cookies of another host.

const API = document.querySelector("meta[name=api]").content;
const find = (selector) => document.querySelector(selector);

// Kept across reloads: a page that is opened after the access token has expired refreshes with it.
let csrfToken = localStorage.getItem("csrf_token");

function keep(token) {
  csrfToken = token;
  if (token === null) localStorage.removeItem("csrf_token");
  else localStorage.setItem("csrf_token", token);
}

async function send(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (csrfToken !== null) headers["x-csrf-token"] = csrfToken;
  const response = await fetch(API + path, { method, headers, body: JSON.stringify(body), credentials: "include" });
  const json = /\bjson\b/.test(response.headers.get("content-type") ?? "");
  const data = json ? await response.json() : null;
  if (typeof data?.csrf_token === "string") keep(data.csrf_token);
  if (!response.ok) throw Object.assign(new Error(data?.title ?? "The request failed."), { code: data?.code });
  return data;
}

/** A call whose access token may have expired: refreshed once, then tried again. */
async function call(method, path, body) {
  try {
    return await send(method, path, body);
  } catch (error) {
    if (error.code !== "unauthenticated" || csrfToken === null) throw error;
    await send("POST", "/api/token/refresh/");
    return send(method, path, body);
  }
}

const say = (text) => { find("#status").textContent = text; };

async function show() {
  let me = null;
  try {
    me = await call("GET", "/api/me/");
  } catch (error) {
    if (error.code !== "unauthenticated") throw error;
  }
  find("#login").hidden = me !== null;
  find("#home").hidden = me === null;
  if (me === null) return;
  find("#name").textContent = me.username;
  find("#profile").elements.display_name.value = (await call("GET", "/api/profile/")).display_name;
}

function on(selector, event, work) {
  find(selector).addEventListener(event, (happened) => {
    happened.preventDefault();
    work(happened.target).catch((error) => say(error.message));
  });
}

on("#login", "submit", async (form) => {
  await send("POST", "/api/login/", Object.fromEntries(new FormData(form)));
  form.reset();
  await show();
});
on("#profile", "submit", async (form) => {
  await call("PATCH", "/api/profile/", Object.fromEntries(new FormData(form)));
  say("Saved.");
});
on("#refresh", "click", async () => {
  await send("POST", "/api/token/refresh/");
  say("Refreshed.");
});
on("#logout", "click", async () => {
  await send("POST", "/api/logout/");
  keep(null);
  await show();
  say("Logged out.");
});

show().catch((error) => say(error.message));
