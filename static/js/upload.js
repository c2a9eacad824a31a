// The upload page: drop a file anywhere, and hear at once when it is too large. Without scripts the form works as it is.
(() => {
  const form = document.querySelector("form[data-upload]");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const tooLarge = form.querySelector("[data-upload-error]");
  form.querySelector("[data-upload-hint]").hidden = false;

  const check = () => {
    const file = input.files[0];
    tooLarge.hidden = !file || file.size <= (Number(form.dataset.limit) || Infinity);
    input.setCustomValidity(tooLarge.hidden ? "" : tooLarge.textContent);
  };
  input.addEventListener("change", check);

  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer || event.dataTransfer.files.length !== 1) return;
    input.files = event.dataTransfer.files;
    input.focus();
    check();
  });
})();
