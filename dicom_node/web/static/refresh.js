// Renews the page every five seconds, but not under the eyes of someone who opened a detail or selects text.
"use strict";

async function renew() {
  const reading = document.querySelector("details[open]") || !document.getSelection().isCollapsed;
  if (document.hidden || reading) return;
  const stale = document.getElementById("stale");
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["main", "#seen", "#stale"]) {
      document.querySelector(part).innerHTML = page.querySelector(part).innerHTML;
    }
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}

setInterval(renew, 5000);
