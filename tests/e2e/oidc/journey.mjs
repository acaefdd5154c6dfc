// Signing in to Trellis with an OpenID Provider that others wrote: the whole way there and back over HTTP, with real processes.
//
// `make oidc-test` starts the processes and this. It needs Node 20.
//   BASE_URL     where Trellis is, as its PUBLIC_URL has it
//   OIDC_ACME_*  the provider, as Trellis knows it; it is started here
//   OIDC_GLOBE_* another one, which writes claims as Apple and others do and answers by POST

import assert from "node:assert/strict";
import { startProvider } from "./provider.mjs";

const base = process.env.BASE_URL;
const issuer = process.env.OIDC_ACME_ISSUER;
const client = { id: process.env.OIDC_ACME_CLIENT_ID, secret: process.env.OIDC_ACME_CLIENT_SECRET };
const redirectUri = `${base}/api/oauth/acme/callback`;
const people = {
  "id-of-bob": { email: "bob@example.org", email_verified: true, preferred_username: "bob" },
  "id-of-ada": { email: "countess@example.org", email_verified: true, preferred_username: "ada" },
  "id-of-eve": { email: "ada@example.org", email_verified: false, preferred_username: "eve" },
  "id-of-dora": {
    email: "Dora@Example.org", email_verified: "true", preferred_username: "dora", updated_at: "2026-11-30T10:00:00.000Z",
    locale: { country: "US", language: "en" }, picture: "no URL",
  },
  "id-of-frank": { email: "frank@example.org", email_verified: "false", preferred_username: "frank", updated_at: "yesterday" },
  "id-of-grace": { email: "grace@example.org", email_verified: 1, preferred_username: "grace", locale: 7 },
  "id-of-bob-again": { email: "bob2@example.org", email_verified: true, preferred_username: "bob2" },
  "id-of-carol": { email: "carol@example.org", email_verified: false, preferred_username: "carol" },
};
const { front, stop } = await startProvider(issuer, redirectUri, client, people);
const globe = {
  issuer: process.env.OIDC_GLOBE_ISSUER,
  redirectUri: `${base}/api/oauth/globe/callback`,
  client: { id: process.env.OIDC_GLOBE_CLIENT_ID, secret: process.env.OIDC_GLOBE_CLIENT_SECRET },
};
Object.assign(globe, await startProvider(globe.issuer, globe.redirectUri, globe.client, people, { inIdToken: true }));

/** A browser: cookies by host, and redirects one at a time. */
class Browser {
  jars = new Map();

  async ask(method, url, body) {
    const target = new URL(url, base);
    const jar = this.jars.get(target.host) ?? this.jars.set(target.host, new Map()).get(target.host);
    const sent = [...jar].filter(([, cookie]) => target.pathname.startsWith(cookie.path)).map(([name, cookie]) => `${name}=${cookie.value}`);
    const headers = { cookie: sent.join("; ") };
    const csrf = jar.get("csrf_token");
    if (csrf && target.origin === base) headers["x-csrf-token"] = csrf.value;
    if (body !== undefined) headers["content-type"] = "application/json";
    const reply = await fetch(target, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), redirect: "manual" });
    for (const line of reply.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(/;\s*/);
      const name = pair.slice(0, pair.indexOf("="));
      const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? "/";
      const gone = attributes.some((attribute) => /^max-age=0$/i.test(attribute)) || pair.endsWith("=");
      if (gone) jar.delete(name);
      else jar.set(name, { value: pair.slice(name.length + 1), path });
    }
    return reply;
  }

  async json(method, path, body, status = 200) {
    const reply = await this.ask(method, path, body);
    const text = await reply.text();
    assert.equal(reply.status, status, `${method} ${path}: ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** From an address at the provider to the address that it sends the browser back to. */
  async visit(url, person) {
    front.person = person;
    for (let step = 0; step < 10; step += 1) {
      const reply = await this.ask("GET", url);
      assert.ok([302, 303].includes(reply.status), `${url}: ${reply.status} ${await reply.text()}`);
      url = new URL(reply.headers.get("location"), url).href;
      if (url.startsWith(redirectUri)) return url;
    }
    return assert.fail("the provider sends the browser round and round");
  }

  /** As `visit`, with a provider that answers by POST: the form that its page sends. */
  async visitForForm(url, person) {
    globe.front.person = person;
    for (let step = 0; step < 10; step += 1) {
      const reply = await this.ask("GET", url);
      const text = await reply.text();
      if (reply.status === 200) {
        assert.ok(text.includes(`action="${globe.redirectUri}"`), text);
        const inputs = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)];
        return inputs.map(([, name, value]) => [name, value.replaceAll("&amp;", "&").replaceAll("&#x2F;", "/")]);
      }
      assert.ok([302, 303].includes(reply.status), `${url}: ${reply.status} ${text}`);
      url = new URL(reply.headers.get("location"), url).href;
    }
    return assert.fail("the provider sends the browser round and round");
  }

  /** A browser sends no `SameSite=Lax` cookie with a POST from another site, and does with the GET that it leads to. */
  async post(form) {
    const headers = { origin: globe.issuer, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
    const reply = await fetch(globe.redirectUri, { method: "POST", headers, body: new URLSearchParams(form), redirect: "manual" });
    assert.equal(reply.status, 303, await reply.text());
    return this.ask("GET", new URL(reply.headers.get("location"), base).href);
  }

  async begin(query = "", name = "acme") {
    const reply = await this.ask("GET", `/api/oauth/${name}/start${query}`);
    assert.equal(reply.status, 302);
    return reply.headers.get("location");
  }

  async signIn(person, query) {
    return this.ask("GET", await this.visit(await this.begin(query), person));
  }
}

async function step(title, work) {
  const begun = Date.now();
  await work();
  console.log(`ok  ${title} (${Date.now() - begun} ms)`);
}

async function until(what, isSo) {
  const deadline = Date.now() + 20_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

async function refused(reply, status, code) {
  assert.equal(reply.status, status);
  assert.equal((await reply.json()).code, code);
}

const ada = new Browser();
const password = "Vq7-tangerine-kiln";
let code;
let backOfBob;
const bob = new Browser();

await step("Ada registers with a password and has a code to give", async () => {
  await ada.json("POST", "/api/register/", { email: "ada@example.org", username: "ada", password }, 201);
  await ada.json("POST", "/api/login/", { identifier: "ada", password });
  code = (await ada.json("GET", "/api/me/")).referral_code;
});

await step("the way to the provider carries what it has to", async () => {
  const there = new URL(await new Browser().begin());
  assert.ok(there.href.startsWith(issuer));
  const query = Object.fromEntries(there.searchParams);
  assert.equal(query.code_challenge_method, "S256");
  assert.equal(query.redirect_uri, redirectUri);
  assert.equal(query.scope, "openid email profile");
  assert.ok(query.nonce && query.state && query.code_challenge.length === 43);
});

await step("Bob follows Ada's link, signs in with the provider, and has an account", async () => {
  await bob.ask("GET", `/r/${code}`);
  const there = await bob.begin();
  backOfBob = await bob.visit(there, "id-of-bob");
  assert.equal(new URL(backOfBob).searchParams.get("iss"), issuer, "this provider names itself");
  const reply = await bob.ask("GET", backOfBob);
  assert.equal(reply.status, 303, await reply.text());
  assert.equal(reply.headers.get("location"), "/dashboard");
  const me = await bob.json("GET", "/api/me/");
  assert.deepEqual([me.username, me.email, me.email_verified], ["bob", "bob@example.org", true]);
});

await step("the referral counts at once: the provider vouches for the address", async () => {
  await until("the reward", async () => (await ada.json("GET", "/api/referral-stats/")).rewards.credits === "10.00");
  const { items } = await ada.json("GET", "/api/referrals/");
  assert.deepEqual([items[0].username, items[0].status], ["bob", "successful"]);
});

await step("what came back once comes back in vain: in the same browser, in another, with another issuer", async () => {
  await refused(await bob.ask("GET", backOfBob), 400, "invalid_state");
  const other = new Browser();
  await other.begin();
  await refused(await other.ask("GET", backOfBob), 400, "invalid_state");
  const mixed = new Browser();
  const back = new URL(await mixed.visit(await mixed.begin(), "id-of-bob"));
  back.searchParams.set("iss", "https://evil.example");
  await refused(await mixed.ask("GET", back.href), 400, "invalid_state");
  const silent = new Browser();
  const unnamed = new URL(await silent.visit(await silent.begin(), "id-of-bob"));
  unnamed.searchParams.delete("iss");
  await refused(await silent.ask("GET", unnamed.href), 400, "invalid_state");
});

await step("a code is worth nothing without the browser's verifier", async () => {
  const victim = new Browser();
  const back = new URL(await victim.visit(await victim.begin(), "id-of-bob"));
  const stolen = back.searchParams.get("code");
  // At the provider itself, even with the client's secret.
  const basic = Buffer.from(`${encodeURIComponent(client.id)}:${encodeURIComponent(client.secret)}`).toString("base64");
  const exchange = (more) => fetch(`${issuer}/token`, {
    method: "POST",
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: "authorization_code", code: stolen, redirect_uri: redirectUri, ...more }),
  });
  for (const more of [{}, { code_verifier: "x".repeat(43) }]) {
    const reply = await exchange(more);
    assert.equal(reply.status, 400);
    assert.equal((await reply.json()).error, "invalid_grant");
  }
  // And in another browser's way back.
  const thief = new Browser();
  const own = new URL(await thief.visit(await thief.begin(), "id-of-eve"));
  own.searchParams.set("code", stolen);
  await refused(await thief.ask("GET", own.href), 401, "provider_refused");
});

await step("the next sign-in finds the same account", async () => {
  const again = new Browser();
  assert.equal((await again.signIn("id-of-bob", "?next=/dashboard%23account")).headers.get("location"), "/dashboard#account");
  assert.equal((await again.json("GET", "/api/me/")).username, "bob");
});

await step("somebody who claims Ada's address at the provider gets nowhere", async () => {
  await refused(await new Browser().signIn("id-of-eve"), 409, "email_taken");
});

await step("an address that the provider does not vouch for has to be confirmed", async () => {
  const carol = new Browser();
  assert.equal((await carol.signIn("id-of-carol")).status, 303);
  assert.equal((await carol.json("GET", "/api/me/")).email_verified, false);
});

await step("Ada links the provider, signs in with it, and unlinks it", async () => {
  const { authorization_url: there } = await ada.json("POST", "/api/me/identities/acme/", { password });
  const reply = await ada.ask("GET", await ada.visit(there, "id-of-ada"));
  assert.equal(reply.status, 303, await reply.text());
  const elsewhere = new Browser();
  await elsewhere.signIn("id-of-ada");
  assert.equal((await elsewhere.json("GET", "/api/me/")).username, "ada");
  const { items } = await ada.json("GET", "/api/me/identities/");
  assert.deepEqual([items.length, items[0].email], [1, "countess@example.org"]);
  await ada.json("DELETE", `/api/me/identities/${items[0].id}/`, undefined, 204);
  const gone = new Browser();
  await gone.signIn("id-of-ada");
  assert.notEqual((await gone.json("GET", "/api/me/")).username, "ada", "it is somebody new by now");
});

await step("Bob sets a password and needs the provider no more", async () => {
  await bob.json("POST", "/api/me/password/", { password }, 204);
  await new Browser().json("POST", "/api/login/", { identifier: "bob", password });
  const { items } = await bob.json("GET", "/api/me/identities/");
  await bob.json("DELETE", `/api/me/identities/${items[0].id}/`, undefined, 204);
});

await step("claims that are text, in the ID token, come back by POST", async () => {
  for (const [name, verified] of [["dora", true], ["frank", false], ["grace", true]]) {
    const browser = new Browser();
    const there = await browser.begin("", "globe");
    assert.equal(new URL(there).searchParams.get("response_mode"), "form_post");
    const reply = await browser.post([...await browser.visitForForm(there, `id-of-${name}`), ["user", "{}"]]);
    assert.equal(reply.status, 303, await reply.text());
    const me = await browser.json("GET", "/api/me/");
    assert.deepEqual([me.username, me.email, me.email_verified], [name, `${name}@example.org`, verified]);
  }
  // The same claims by the UserInfo endpoint.
  people["id-of-heidi"] = { ...people["id-of-dora"], email: "heidi@example.org", preferred_username: "heidi" };
  const heidi = new Browser();
  assert.equal((await heidi.signIn("id-of-heidi")).status, 303);
  assert.equal((await heidi.json("GET", "/api/me/")).email_verified, true);
});

await step("a form that was posted is good once, in its own browser", async () => {
  const browser = new Browser();
  const form = await browser.visitForForm(await browser.begin("", "globe"), "id-of-dora");
  await refused(await new Browser().post(form), 400, "invalid_state");
  assert.equal((await browser.post(form)).status, 303);
  await refused(await browser.post(form), 400, "invalid_state");
});

await step("linking comes back by POST, too", async () => {
  const { authorization_url: there } = await ada.json("POST", "/api/me/identities/globe/", { password });
  people["id-of-ada-there"] = { email: "", preferred_username: "ada" };
  assert.equal((await ada.post(await ada.visitForForm(there, "id-of-ada-there"))).status, 303);
  const { items } = await ada.json("GET", "/api/me/identities/");
  assert.deepEqual([items.length, items[0].provider], [1, "globe"]);
});

await step("two tabs of one browser both sign in, at one provider and at two", async () => {
  const browser = new Browser();
  const [one, two, three] = [await browser.begin("?next=/one"), await browser.begin("?next=/two"), await browser.begin("?next=/three", "globe")];
  const backOfTwo = await browser.visit(two, "id-of-bob-again");
  const backOfOne = await browser.visit(one, "id-of-bob-again");
  const form = await browser.visitForForm(three, "id-of-dora");
  for (const [reply, next] of [[await browser.ask("GET", backOfTwo), "/two"], [await browser.ask("GET", backOfOne), "/one"], [await browser.post(form), "/three"]]) {
    assert.equal(reply.status, 303, await reply.text());
    assert.equal(reply.headers.get("location"), next);
  }
  assert.ok(![...browser.jars.get(new URL(base).host).keys()].some((name) => name.startsWith("sign_in_attempt")));
});

await step("on request the provider asks which account to use", async () => {
  front.prompts.length = 0;
  const browser = new Browser();
  assert.equal((await browser.signIn("id-of-carol", "?prompt=select_account")).status, 303);
  assert.equal(front.prompts[0], "select_account");
  assert.equal((await browser.json("GET", "/api/me/")).username, "carol");
  await refused(await browser.ask("GET", "/api/oauth/acme/start?prompt=none"), 422, "validation");
});

console.log(`all is well: the provider was asked ${front.asked.length} times`);
stop();
globe.stop();
process.exit(0);
