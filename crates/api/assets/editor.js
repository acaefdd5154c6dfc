// The editor of one's page: the profile, and the links with their order. Everything works with the keyboard alone, and what
// was done is said in a status line. What people wrote reaches the page as text, never as markup.

import { call, Failure, failureText, fill, summarise, wireForm } from "./app.js";
import { account, isOver, keepsMore, leave, restoreDraft, sent } from "./session.js";

const find = (selector, base = document) => base.querySelector(selector);
const root = find("#page");
const session = { session: true };
const dialog = find("#link-dialog");
const linkForm = find("form[data-form=link]");
const profileForm = find("form[data-form=profile]");
const places = find("[data-list=places]");

let links = [];
let limit = 0;
/** What the dialog is about: a link that is there, or the kind of a new one. */
let editing = null;

const say = (text) => { find("[data-status=page]").textContent = text; };

/** A call of this page, which is left when its session is over. */
async function ask(method, path, body) {
  try {
    return await call(method, path, body, session);
  } catch (failure) {
    if (isOver(failure)) leave(failure);
    throw failure;
  }
}

/** Does something that no form asked for, and shows why not. */
async function attempt(work) {
  summarise(root, "");
  say("");
  try {
    await work();
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    summarise(root, failureText(failure));
  }
}

// --- Links -----------------------------------------------------------------------------------

function tool(label, name, link, work, off = false) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.setAttribute("aria-label", `${name}: ${link.title}`);
  button.dataset.tool = label;
  button.disabled = off;
  button.addEventListener("click", () => attempt(work));
  return button;
}

const when = (instant) => instant.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

function note(link) {
  const notes = [];
  if (link.kind === "header") notes.push("Header");
  if (link.url) notes.push(link.url);
  if (!link.enabled) notes.push("hidden");
  // Whoever wonders why a link does not show reads it here.
  const [from, until] = [link.visible_from, link.visible_until].map((text) => text && new Date(text));
  const now = new Date();
  if (until && until <= now) {
    notes.push(`ended ${when(until)}`);
  } else {
    if (from > now) notes.push(`shows from ${when(from)}`);
    if (until) notes.push(`shows until ${when(until)}`);
  }
  if (link.pinned) notes.push("pinned");
  if (link.highlighted) notes.push("highlighted");
  if (link.disabled) notes.push(`taken down by a manager: ${link.disabled.reason}`);
  return notes.join(", ");
}

function row(link, index) {
  const item = document.createElement("li");
  item.dataset.id = link.id;
  item.classList.toggle("off", !link.enabled);
  const text = (className, content) => {
    const part = document.createElement("span");
    part.className = className;
    part.dir = "auto";
    part.textContent = content;
    return part;
  };
  const tools = document.createElement("span");
  tools.className = "tools";
  tools.append(
    tool("Up", "Move up", link, () => move(index, index - 1), index === 0),
    tool("Down", "Move down", link, () => move(index, index + 1), index === links.length - 1),
    tool("Edit", "Edit", link, () => open(link)),
    tool("Delete", "Delete", link, () => remove(link, index)),
  );
  item.append(text("who", link.title), text("meta", note(link)), tools);
  return item;
}

function showLinks(reply) {
  if (reply) ({ items: links, limit } = reply);
  find("[data-list=links]").replaceChildren(...links.map(row));
  find("[data-empty=links]").hidden = links.length > 0;
  fill("links-count", `${links.length} of ${limit}`);
}

/** Puts the focus back on a button of a row, or on its neighbour where that one is off. */
function focusTool(id, label) {
  const item = find(`[data-list=links] [data-id="${id}"]`);
  const button = item && find(`[data-tool=${label}]`, item);
  if (button && !button.disabled) return button.focus();
  (item ? find("button:enabled", item) : find("[data-add=link]")).focus();
}

async function move(from, to) {
  const order = links.map((link) => link.id);
  const [id] = order.splice(from, 1);
  order.splice(to, 0, id);
  const label = to < from ? "Up" : "Down";
  try {
    showLinks(await ask("PUT", "/api/links/order/", { ids: order }));
  } catch (failure) {
    // Somebody added or deleted one elsewhere: show what there is.
    if (failure.status === 422) showLinks(await ask("GET", "/api/links/"));
    throw failure;
  }
  say(`${links[to].title} is number ${to + 1} of ${links.length}.`);
  focusTool(id, label);
}

async function remove(link, index) {
  if (!confirm(`Delete “${link.title}”?`)) return;
  await ask("DELETE", `/api/links/${link.id}/`);
  showLinks(await ask("GET", "/api/links/"));
  say(`${link.title} is deleted.`);
  focusTool(links[Math.min(index, links.length - 1)]?.id, "Edit");
}

// A field for a local time takes and gives no zone: the browser's own is meant.
const toField = (text) => {
  if (!text) return "";
  const instant = new Date(text);
  return new Date(instant.getTime() - instant.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};
const toInstant = (text) => (text ? new Date(text).toISOString() : null);

function open(subject) {
  editing = subject;
  const { elements } = linkForm;
  const isHeader = subject.kind === "header";
  linkForm.reset();
  summarise(linkForm, "");
  fill("link-title", `${subject.id ? "Edit the" : "Add a"} ${isHeader ? "header" : "link"}`);
  for (const part of linkForm.querySelectorAll("[data-when=link]")) {
    part.hidden = isHeader;
    for (const field of part.querySelectorAll("input")) field.disabled = isHeader;
  }
  find("[data-show=thumbnail]").hidden = isHeader || !subject.id;
  find("[data-action=remove-thumbnail]").hidden = !subject.thumbnail_url;
  find("#thumbnail-error").textContent = "";
  elements.title.value = subject.title ?? "";
  elements.url.value = subject.url ?? "";
  elements.enabled.checked = subject.enabled ?? true;
  elements.pinned.checked = subject.pinned ?? false;
  elements.highlighted.checked = subject.highlighted ?? false;
  elements.visible_from.value = toField(subject.visible_from);
  elements.visible_until.value = toField(subject.visible_until);
  dialog.showModal();
  elements.title.focus();
}

wireForm(linkForm, async (values) => {
  const body = { ...values, visible_from: toInstant(values.visible_from), visible_until: toInstant(values.visible_until) };
  // People write addresses without their scheme.
  if (body.url && !/^[a-z][a-z0-9+.-]*:/i.test(body.url.trim())) body.url = `https:${body.url.trim()}`;
  let id = editing.id;
  if (id) await ask("PATCH", `/api/links/${id}/`, body);
  else ({ id } = await ask("POST", "/api/links/", { ...body, kind: editing.kind }));
  showLinks(await ask("GET", "/api/links/"));
  dialog.close();
  say(`${body.title} is saved.`);
  focusTool(id, "Edit");
});

for (const button of root.querySelectorAll("[data-add]")) {
  button.addEventListener("click", () => open({ kind: button.dataset.add }));
}
dialog.addEventListener("close", () => sent(linkForm));
find("[data-action=close-link]").addEventListener("click", () => {
  dialog.close();
  if (editing.id) focusTool(editing.id, "Edit");
  else find(`[data-add=${editing.kind}]`).focus();
});

// --- Pictures --------------------------------------------------------------------------------

/** Sends the chosen file at once; what is wrong with it is said beside the field. */
function wirePicture(input, path, done) {
  const place = find(`#${input.id}-error`);
  input.addEventListener("change", async () => {
    const [file] = input.files;
    place.textContent = "";
    if (!file) return;
    try {
      done(await ask("PUT", path(), file));
      say("The picture is saved.");
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      place.textContent = failure.status === 413 ? "This file is too large." : failure.errors[0]?.detail ?? failureText(failure);
    } finally {
      input.value = "";
    }
  });
}

function changed(link) {
  editing = link;
  find("[data-action=remove-thumbnail]").hidden = !link.thumbnail_url;
  showLinks({ items: links.map((known) => (known.id === link.id ? link : known)), limit });
}

wirePicture(find("#avatar"), () => "/api/profile/avatar/", showAvatar);
wirePicture(find("#thumbnail"), () => `/api/links/${editing.id}/thumbnail/`, changed);
find("[data-action=remove-avatar]").addEventListener("click", () => attempt(async () => {
  showAvatar(await ask("DELETE", "/api/profile/avatar/"));
  say("The picture is removed.");
  find("#avatar").focus();
}));
find("[data-action=remove-thumbnail]").addEventListener("click", () => attempt(async () => {
  changed(await ask("DELETE", `/api/links/${editing.id}/thumbnail/`));
  find("#thumbnail").focus();
}));

// --- The profile -----------------------------------------------------------------------------

function showAvatar({ avatar_url: url }) {
  const image = find("[data-avatar]");
  // Its address is of the public origin, which need not be the one that this page was opened under.
  if (url) image.src = new URL(url).pathname;
  image.hidden = !url;
  find("[data-action=remove-avatar]").hidden = !url;
}

function addPlace({ network, url } = {}) {
  const item = find("[data-place]").content.cloneNode(true).firstElementChild;
  if (network) find("select", item).value = network;
  find("input", item).value = url ?? "";
  find("button", item).addEventListener("click", () => {
    item.remove();
    find("[data-action=add-place]").focus();
  });
  places.append(item);
  return item;
}

function showProfile(profile) {
  const { elements } = profileForm;
  elements.display_name.value = profile.display_name;
  elements.bio.value = profile.bio;
  elements.theme.value = profile.theme;
  elements.listed.checked = profile.listed;
  for (const choice of profileForm.querySelectorAll("[data-premium]")) choice.disabled = !profile.premium && !choice.checked;
  places.replaceChildren();
  profile.social.forEach(addPlace);
  showAvatar(profile);
  const link = find("[data-page-url]");
  link.href = new URL(profile.page_url).pathname;
  link.textContent = profile.page_url.replace(/^https?:\/\//, "");
  fill("page-state", profile.disabled ? "taken down" : profile.public ? "" : "not public until you confirm your e-mail address");
  find("[data-show=page-disabled]").hidden = !profile.disabled;
  fill("page-disabled", profile.disabled?.reason ?? "");
}

find("[data-action=add-place]").addEventListener("click", () => find("select", addPlace()).focus());

wireForm(profileForm, async (values) => {
  const fields = [...places.children].map((item) => find("input", item));
  for (const field of fields) field.removeAttribute("aria-invalid");
  const sent = fields.filter((field) => field.value.trim() !== "");
  const social = sent.map((field) => ({ network: find("select", field.parentElement).value, url: field.value.trim() }));
  // A theme that lapsed is kept without being chosen anew.
  const { theme, ...rest } = values;
  const lapsed = profileForm.querySelector("[data-premium]:checked") && theme === shownTheme;
  let profile;
  try {
    profile = await ask("PATCH", "/api/profile/", { ...rest, ...(lapsed ? {} : { theme }), social });
  } catch (failure) {
    for (const error of failure.errors ?? []) {
      const [, place] = /^\/social\/(\d+)\//.exec(error.pointer) ?? [];
      if (!place) continue;
      sent[place].setAttribute("aria-invalid", "true");
      error.detail = `${social[place].url}: ${error.detail}`;
    }
    throw failure;
  }
  shownTheme = profile.theme;
  showProfile(profile);
  say("Your page is saved.");
});

let shownTheme = "";

// What was typed when the session ended comes back with all that belongs to it.
keepsMore(
  "profile",
  () => [...places.children].map((item) => ({ network: find("select", item).value, url: find("input", item).value })),
  (social) => { places.replaceChildren(); social.forEach(addPlace); },
);
keepsMore(
  "link",
  () => (dialog.open ? { id: editing.id ?? null, kind: editing.kind } : null),
  ({ id, kind }) => open(links.find((link) => link.id === id) ?? { kind }),
);

attempt(async () => {
  await account;
  const [profile, list] = await Promise.all([ask("GET", "/api/profile/"), ask("GET", "/api/links/")]);
  shownTheme = profile.theme;
  showProfile(profile);
  showLinks(list);
  for (const button of root.querySelectorAll("[data-add]")) button.disabled = false;
  const restored = [restoreDraft("profile"), restoreDraft("link")];
  if (restored.includes(true)) say("What you typed before is back. It is not saved yet.");
});
