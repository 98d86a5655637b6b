// Sends the requests of the documentation page. Without this file it is to read.

document.body.classList.add("live");

for (const form of document.querySelectorAll("form.try")) {
  const { url, kind, body } = form.elements;
  kind?.addEventListener("change", () => (body.value = kind.selectedOptions[0].dataset.body));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, url.value, kind && { headers: { "Content-Type": kind.value }, body: body.value });
  });
}

async function send(form, path, content) {
  const told = form.querySelector(".told"), shown = form.querySelector(".response");
  const query = [...form.querySelectorAll("[data-query]")].filter(({ value }) => value).map(({ dataset, value }) => [dataset.query, value]);
  const began = performance.now();
  told.textContent = "sending";
  try {
    const relative = path.replace(/^\/+/, ""); // the service may stand behind a path
    const response = await fetch(query.length ? `${relative}?${new URLSearchParams(query)}` : relative, { method: form.dataset.method, ...content });
    const text = await response.text();
    told.textContent = `${response.status} ${response.statusText} in ${(performance.now() - began).toFixed(0)} ms, ${response.headers.get("Content-Type")}`;
    shown.textContent = /json$/.test(response.headers.get("Content-Type")) ? JSON.stringify(JSON.parse(text), null, 2) : text;
    shown.hidden = false;
  } catch {
    told.textContent = "The service can't be reached.";
  }
}
