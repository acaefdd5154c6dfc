// The dashboard: reads the account, its statistics, referrals and rewards, and changes the account.
// Everything that people wrote reaches the page as text, never as markup.

import { call, Failure, failureText, fill, summarise, wireForm } from "./app.js";
import { announce, changeNotice, forgetDrafts, isOver, leave, reload, restoreDraft, show, whenChanged } from "./session.js";

const find = (selector, root = document) => root.querySelector(selector);
const page = find("[data-page=dashboard]");
const session = { session: true };

const number = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const amount = (text) => number.format(Number(text));
const date = (text) => day.format(new Date(text));
const words = (code) => String(code).replaceAll("_", " ");

/** An element with a class and children; strings become text. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function when(text) {
  const time = make("time", "", date(text));
  time.dateTime = text;
  return time;
}

// --- Words -----------------------------------------------------------------------------------

const statuses = {
  pending: "Waiting",
  review: "In review",
  successful: "Counts",
  rejected: "Does not count",
  expired: "Expired",
  reversed: "Taken back",
};

/** Why a referral or a reward stands where it stands. What is not listed needs no words. */
const reasons = {
  awaiting_verification: "has not confirmed the e-mail address yet",
  not_verified_in_time: "did not confirm the e-mail address in time",
  self_referral_same_email: "has your own e-mail address",
  self_referral_same_browser: "registered with your own browser",
  email_of_deleted_account: "had an account before",
  email_used_before: "has another account",
  on_hold: "counts in a while",
  awaiting_settlement: "counts in a moment",
  under_review: "is being looked at",
  account_blocked: "is blocked at the moment",
  ring_same_email: "has the e-mail address of somebody who invited you",
  ring_same_browser: "registered with the browser of somebody who invited you",
  ring_cycle: "invited you, directly or not",
  suspected_abuse: "looks too much like other accounts",
  rejected_by_manager: "was refused after a look at it",
  reversed_by_manager: "was taken back after a look at it",
  referred_deleted: "deleted the account too early",
  no_rule: "no reward was offered at the time",
  milestone_had: "you had this before",
};

const decisions = { capped: "Limit reached", ineligible: "Not granted" };

/** A reward in words: 10 credits, 30 days of premium, a 20 % discount. */
function reward({ reward_type: kind, amount: figure }) {
  if (!kind) return "No reward";
  const value = Number(figure);
  if (kind === "credits") return `${number.format(value)} ${value === 1 ? "credit" : "credits"}`;
  if (kind === "premium") return `${number.format(value)} days of premium`;
  if (kind === "discount") return `${number.format(value)} % discount`;
  return `${number.format(value)} ${words(kind)}`;
}

// --- Lists -----------------------------------------------------------------------------------

function referralRow(referral) {
  const status = make("span", `badge ${referral.status}`, statuses[referral.status] ?? words(referral.status));
  const note = reasons[referral.reason] ? `, ${reasons[referral.reason]}` : null;
  return make("li", "", make("span", "who", referral.username), status, make("span", "meta", when(referral.date_referred), note));
}

function rewardRow(entry) {
  const withheld = decisions[entry.decision];
  const badge = withheld ? make("span", "badge", withheld) : null;
  const cause = entry.milestone
    ? `for ${number.format(entry.milestone)} friends`
    : entry.beneficiary === "referred" ? "for joining by invitation" : "for a friend who joined";
  const note = withheld && reasons[entry.reason] ? `, ${reasons[entry.reason]}` : null;
  return make("li", "", make("span", "who", reward(entry)), badge, make("span", "meta", when(entry.date_earned), `, ${cause}`, note));
}

/** A list that loads itself page by page. */
function pager(name, path, row) {
  const list = find(`[data-list=${name}]`);
  const more = find(`[data-more=${name}]`);
  let cursor = null;
  async function load() {
    const reply = await call("GET", cursor ? `${path}?cursor=${encodeURIComponent(cursor)}` : path, undefined, session);
    const before = list.children.length;
    list.append(...reply.items.map(row));
    cursor = reply.next_cursor;
    more.hidden = cursor === null;
    find(`[data-empty=${name}]`).hidden = list.children.length > 0;
    return list.children[before];
  }
  more.addEventListener("click", async () => {
    const first = await load().catch(fail);
    if (first && more.hidden) {
      first.tabIndex = -1;
      first.focus();
    }
  });
  return load;
}

// --- The numbers -----------------------------------------------------------------------------

function showAccount(user) {
  show(user);
  say("account", changeNotice(user.username));
  fill("greeting", `, ${user.username}`);
  fill("username", user.username);
  fill("email", user.email);
  fill("since", date(user.created_at));
  fill("verified", user.email_verified ? "confirmed" : "not confirmed");
  find(".badge[data-fill=verified]").classList.add(user.email_verified ? "successful" : "pending");
  find("[data-show=unverified]").hidden = user.email_verified;
  const bounces = user.email_bounced_at !== null;
  find("[data-show=bounced]").hidden = !bounces;
  find("[data-show=awaited]").hidden = bounces;
  find("[data-action=resend]").hidden = bounces;
  if (bounces && user.email_verified) say("email", "Mail to this address bounces. Change it, or ask your mail provider why.");
  fill("code", user.referral_code);
  find("#referral-url").value = user.referral_url;
  find("[data-action=copy]").disabled = false;
  for (const owner of document.querySelectorAll("[data-owner]")) owner.value = user.email;
}

function showStats(stats) {
  fill("credits", amount(stats.rewards.credits));
  fill("successful", number.format(stats.successful));
  fill("pending", number.format(stats.pending + stats.in_review));
  fill("clicks", number.format(stats.clicks));
  fill("rate", stats.total > 0 ? percent.format(stats.conversion_rate) : "–");
  fill("premium", stats.rewards.premium_until ? date(stats.rewards.premium_until) : "–");

  const milestone = stats.next_milestone;
  find("[data-show=milestone]").hidden = !milestone;
  if (milestone) {
    fill("milestone-reward", reward(milestone.reward));
    fill("milestone-left", `when ${milestone.remaining === 1 ? "one more friend counts" : `${number.format(milestone.remaining)} more friends count`}`);
    const bar = find("[data-bar=milestone]");
    bar.max = milestone.at;
    bar.value = milestone.at - milestone.remaining;
  }

  const discounts = stats.rewards.discounts;
  find("[data-show=discounts]").hidden = discounts.length === 0;
  find("[data-list=discounts]").replaceChildren(
    ...discounts.map((discount) => make("li", "", `${amount(discount.percent)} % off`, make("code", "", discount.code))),
  );
}

// --- What asks for the password when the sign-in was long ago --------------------------------

const passwordDialog = find("#password-dialog");
const passwordForm = find("[data-form=confirm-password]");
let hasPassword = false;
let postponed = null;

/** Runs `work`; if it wants a more recent sign-in, asks for the password and runs it again with that. */
async function confirmed(work) {
  try {
    await work({});
  } catch (failure) {
    if (failure.code !== "recent_sign_in_needed" || !hasPassword) throw failure;
    postponed = work;
    passwordForm.reset();
    passwordDialog.showModal();
  }
}

wireForm(passwordForm, async (values) => {
  try {
    await postponed(values);
  } catch (failure) {
    if (signedOut(failure)) location.replace("/login");
    throw failure;
  }
  passwordDialog.close();
});
find("[data-action=cancel-password]").addEventListener("click", () => passwordDialog.close());

// --- Ways to sign in -------------------------------------------------------------------------

/** A button that does something to the ways to sign in, and says what became of it. */
function wayButton(label, work) {
  const button = make("button", "", label);
  button.type = "button";
  button.addEventListener("click", async () => {
    say("identities", "");
    try {
      await work();
    } catch (failure) {
      if (!(failure instanceof Failure) || signedOut(failure)) fail(failure);
      else say("identities", failureText(failure));
    }
  });
  return button;
}

function identityRow(identity) {
  const unlink = wayButton(`Remove ${identity.title}`, () => confirmed(async (proof) => {
    await call("DELETE", `/api/me/identities/${identity.id}/`, proof, session);
    await showIdentities();
    say("identities", `${identity.title} signs in no more.`);
  }));
  const email = identity.email ? `, ${identity.email}` : null;
  return make("li", "", make("span", "who", identity.title), unlink, make("span", "meta", "since ", when(identity.created_at), email));
}

function linkButton(provider) {
  return wayButton(`Link ${provider.title}`, () => confirmed(async (proof) => {
    const body = { next: "/dashboard#account", ...proof };
    const { authorization_url: url } = await call("POST", `/api/me/identities/${provider.name}/`, body, session);
    location.assign(url);
  }));
}

/** A field that is not asked for is not sent. */
function askFor(password) {
  hasPassword = password;
  for (const part of document.querySelectorAll("[data-when=password], [data-when=no-password]")) {
    part.hidden = (part.dataset.when === "password") !== password;
    for (const field of part.querySelectorAll("input")) field.disabled = part.hidden;
  }
  fill("password-title", password ? "Change password" : "Set a password");
}

async function showIdentities() {
  const [{ items, has_password: password }, providers] = await Promise.all([
    call("GET", "/api/me/identities/", undefined, session),
    call("GET", "/api/oauth/providers/"),
  ]);
  find("[data-list=identities]").replaceChildren(...items.map(identityRow));
  find("[data-list=providers]").replaceChildren(...providers.items.map(linkButton));
  find("[data-show=identities]").hidden = items.length === 0 && providers.items.length === 0;
  askFor(password);
}

// --- Doing things ----------------------------------------------------------------------------

const signedOut = (failure) => failure instanceof Failure && isOver(failure);

/** Whatever failed: without its session the page is left, the rest is said on top. */
function fail(failure) {
  if (!(failure instanceof Failure)) throw failure;
  if (signedOut(failure)) leave(failure);
  else summarise(page, failureText(failure));
}

/** A call that a form of this page makes. */
async function change(method, path, values) {
  try {
    await call(method, path, values, session);
  } catch (failure) {
    if (signedOut(failure)) leave(failure);
    throw failure;
  }
}

function say(name, text) {
  find(`[data-status=${name}]`).textContent = text;
}

find("[data-action=copy]").addEventListener("click", async (event) => {
  const link = find("#referral-url");
  try {
    await navigator.clipboard.writeText(link.value);
  } catch {
    // Without clipboard permission, or over plain http: select it, so that one key press copies it.
    link.select();
    say("copy", "The link is selected: copy it with your keyboard or menu.");
    return;
  }
  event.target.textContent = "Copied";
  say("copy", "The link is copied.");
  setTimeout(() => { event.target.textContent = "Copy link"; say("copy", ""); }, 2500);
});

find("#referral-url").addEventListener("focus", (event) => event.target.select());

find("[data-action=resend]").addEventListener("click", async () => {
  say("resend", "");
  try {
    await call("POST", "/api/verify-email/resend/", undefined, session);
    say("resend", "Sent. If it does not arrive, look into your spam folder.");
  } catch (failure) {
    if (!(failure instanceof Failure) || signedOut(failure)) fail(failure);
    else say("resend", failureText(failure));
  }
});

find("[data-action=logout]").addEventListener("click", async () => {
  try {
    await call("POST", "/api/logout/");
    forgetDrafts();
    announce(null);
    location.replace("/");
  } catch (failure) {
    fail(failure);
  }
});

const newPasswordForm = find("[data-form=change-password]");
wireForm(newPasswordForm, async (values) => {
  await change("POST", "/api/me/password/", values);
  newPasswordForm.reset();
  askFor(true);
  newPasswordForm.closest("details").open = false;
  find("#change-password summary").focus();
  say("password", "Your password is changed. Your other devices are logged out.");
});

/** How often the username may be changed now, in words. */
function showChanges({ changes_left: left, next_change_at: next }) {
  if (left > 0) fill("username-changes", left === 1 ? "You can change it once now." : `You can change it ${number.format(left)} times now.`);
  else fill("username-changes", `You can change it again on ${moment.format(new Date(next))}.`);
}

const showUsernameChanges = () => call("GET", "/api/me/username/", undefined, session).then(showChanges);

const usernameForm = find("[data-form=change-username]");
wireForm(usernameForm, async ({ username, password }) => {
  try {
    await change("PATCH", "/api/me/", { username, password });
  } catch (failure) {
    // This limit lasts for days: its own words say more than those for all limits.
    if (failure.status === 429 && /username/.test(failure.message)) {
      await showUsernameChanges();
      throw new Failure({ errors: [{ pointer: "/username", detail: `${failure.message} ${find("[data-fill=username-changes]").textContent}` }] });
    }
    throw failure;
  }
  usernameForm.reset();
  const [user] = await Promise.all([call("GET", "/api/me/", undefined, session), showUsernameChanges()]);
  showAccount(user);
  for (const link of document.querySelectorAll("[data-page-url]")) link.href = `/@${user.username}`;
  usernameForm.closest("details").open = false;
  find("#change-username summary").focus();
  say("username", `Your username is ${user.username} now.`);
});

const emailForm = find("[data-form=change-email]");
wireForm(emailForm, async ({ new_email: email, password }) => {
  try {
    await change("POST", "/api/me/email/", { email, password });
  } catch (failure) {
    for (const error of failure.errors ?? []) if (error.pointer === "/email") error.pointer = "/new_email";
    throw failure;
  }
  emailForm.reset();
  emailForm.closest("details").open = false;
  find("#change-email summary").focus();
  say("email", `Open the link that we sent to ${email.trim()}. Until then nothing changes.`);
});

find("[data-action=export]").addEventListener("click", async () => {
  say("export", "");
  try {
    await confirmed(async (proof) => {
      const data = await call("POST", "/api/me/export/", proof, session);
      const link = make("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: "application/json" }));
      link.download = "trellis-export.json";
      link.click();
      URL.revokeObjectURL(link.href);
    });
  } catch (failure) {
    if (!(failure instanceof Failure) || signedOut(failure)) fail(failure);
    else say("export", failureText(failure));
  }
});

wireForm(find("[data-form=delete-account]"), async (values) => {
  await change("DELETE", "/api/me/", values);
  forgetDrafts();
  announce(null);
  location.replace("/");
});

function openTarget() {
  const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView();
}
// Back from elsewhere: the account may have changed, or somebody else sits there now.
addEventListener("pageshow", (event) => { if (event.persisted) reload(); });

// Another tab signed out or in: ask the server, and leave if this page's account is not signed in any more.
whenChanged(() => call("GET", "/api/me/", undefined, session).catch(fail));

addEventListener("hashchange", openTarget);
openTarget();

try {
  // The account first: all that follows names it.
  await call("GET", "/api/me/", undefined, session).then(showAccount);
  await Promise.all([
    call("GET", "/api/referral-stats/", undefined, session).then(showStats),
    showIdentities(),
    showUsernameChanges(),
    pager("referrals", "/api/referrals/", referralRow)(),
    pager("rewards", "/api/rewards/", rewardRow)(),
  ]);
  if (restoreDraft("change-email")) say("email", "What you typed before is back. It is not sent yet.");
} catch (failure) {
  fail(failure);
} finally {
  page.setAttribute("aria-busy", "false");
}
