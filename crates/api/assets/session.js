// Whose account a page shows, how the tabs of a browser agree on it, and what was typed when the session ends.
//
// All tabs share the cookies: when a person signs in as someone else in one tab, the others would act for the new account
// with what they show of the old one. So a page says whose data it shows with each request, the server refuses a mismatch,
// and tabs tell each other. What was typed is kept in this tab, and only given back to the same account. Passwords, codes
// and files are never kept.

const find = (selector, root = document) => root.querySelector(selector);
const DRAFT = "trellis-draft:";
const NOTICE = "trellis-account-changed";
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("trellis-session") : null;

let shown = null;
let resolveAccount;

/** The account that this page shows, once it is known. */
export const account = new Promise((resolve) => { resolveAccount = resolve; });

/** The id of that account, which each request names; null on a page that shows none. */
export const shownUser = () => shown?.id ?? null;

/** From now on this page shows this account. */
export function show(user) {
  shown = user;
  announce(user.id);
  resolveAccount(user);
}

/** Tells the other tabs who is signed in now: a user id, or null. */
export function announce(id) {
  channel?.postMessage({ user: id });
}

/** Calls `work` when another tab reports a change. The page asks the server then: the report itself proves nothing. */
export function whenChanged(work) {
  channel?.addEventListener("message", ({ data }) => {
    if (shown !== null && data?.user !== shown.id) work();
  });
}

// --- Drafts ----------------------------------------------------------------------------------

// Forms with more than named fields: how to read the rest, and how to put it back.
const extras = new Map();

function store(key, value) {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Storage is off or full: the page works without.
  }
}

function stored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

const mayBeKept = (field) =>
  field.name && !["password", "file", "hidden", "submit", "button"].includes(field.type) && field.autocomplete !== "one-time-code";

addEventListener("input", ({ target }) => { if (target.form?.dataset.form) target.form.dataset.dirty = ""; });
addEventListener("reset", ({ target }) => { delete target.dataset.dirty; });

/** What was typed into a form has been sent. */
export function sent(form) {
  delete form.dataset.dirty;
}

/** A form that has more to keep than its named fields. */
export function keepsMore(name, read, write) {
  extras.set(name, { read, write });
}

/** Keeps what was typed and not sent. Returns whether there was anything. */
function keepDrafts() {
  if (shown === null) return false;
  const drafts = {};
  for (const form of document.querySelectorAll("form[data-form][data-dirty]")) {
    const fields = [...form.elements].filter(mayBeKept);
    const values = Object.fromEntries(
      fields.filter((field) => field.type !== "radio" || field.checked).map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]),
    );
    drafts[form.dataset.form] = { values, more: extras.get(form.dataset.form)?.read() ?? null };
  }
  if (Object.keys(drafts).length === 0) return false;
  store(DRAFT + shown.id, drafts);
  return true;
}

/** Puts back what was typed into a form before the session ended. Returns whether there was anything. */
export function restoreDraft(name) {
  const drafts = shown === null ? null : stored(DRAFT + shown.id);
  const draft = drafts?.[name];
  const form = find(`form[data-form="${name}"]`);
  if (!draft || !form) return false;
  delete drafts[name];
  store(DRAFT + shown.id, Object.keys(drafts).length > 0 ? drafts : null);
  if (draft.more !== null) extras.get(name)?.write(draft.more);
  for (const field of [...form.elements].filter(mayBeKept)) {
    if (!(field.name in draft.values)) continue;
    const value = draft.values[field.name];
    if (field.type === "radio") field.checked = field.value === value;
    else if (field.type === "checkbox") field.checked = value;
    else field.value = value;
  }
  form.dataset.dirty = "";
  const details = form.closest("details");
  if (details) details.open = true;
  return true;
}

/** A person who signs out leaves nothing behind in this tab. */
export function forgetDrafts() {
  if (shown !== null) store(DRAFT + shown.id, null);
}

/** Loads the page again, with what was typed. */
export function reload() {
  keepDrafts();
  location.reload();
}

// --- The end of a session --------------------------------------------------------------------

/** Whether a failure means that this page cannot go on as it is. */
export const isOver = (failure) => ["unauthenticated", "account_changed"].includes(failure.code);

/** Leaves a page whose session is over: to the login and back, or to the page of the account that is signed in now. */
export function leave(failure) {
  if (!isOver(failure)) return;
  const kept = keepDrafts();
  if (failure.code === "unauthenticated") {
    location.replace(`/login?next=${encodeURIComponent(location.pathname + location.hash)}`);
  } else {
    store(NOTICE, { from: shown?.username ?? null, kept });
    location.reload();
  }
}

/** What to tell a person whose page was loaded again for another account; empty otherwise. */
export function changeNotice(username) {
  const notice = stored(NOTICE);
  store(NOTICE, null);
  if (!notice) return "";
  const kept = notice.kept ? ` What you typed as ${notice.from} was not saved. It is kept in this tab until you log in as ${notice.from} again.` : "";
  return `You are logged in as ${username} now: the account changed in another tab.${kept}`;
}
