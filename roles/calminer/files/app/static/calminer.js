// Sends the form as JSON and shows the answer in words.
const form = document.getElementById("add");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const scenario = {};
  for (const field of form.querySelectorAll("input")) {
    scenario[field.name] = field.type === "number" ? field.valueAsNumber : field.value;
  }
  const answer = await fetch("/api/scenarios", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(scenario),
  });
  if (answer.ok) {
    location.reload();
    return;
  }
  const { detail } = await answer.json();
  form.querySelector("output").value = typeof detail === "string" ? detail : detail.map((one) => one.msg).join("; ");
});
