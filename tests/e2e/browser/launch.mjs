// The browser of all these journeys.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const browsers = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
const quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export async function launch(...more) {
  const executablePath = process.env.CHROMIUM ?? browsers.find(existsSync);
  assert.ok(executablePath, "no Chromium found: install it, or set CHROMIUM to its path");
  const root = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath, args: [...quiet, ...root, ...more] });
}

export async function step(title, work) {
  const begun = Date.now();
  await work();
  console.log(`ok  ${title} (${Date.now() - begun} ms)`);
}
