// Whose the adapter will be: one's own, or an organisation's where one's role allows it. Without a choice it is one's own.
export class Owners {
  // `changed` hears of another choice.
  constructor(form, changed) {
    this.list = form.querySelector("[data-owners]");
    this.list?.addEventListener("change", changed);
  }

  get radio() {
    return this.list?.querySelector("input:checked") ?? null;
  }

  // The organisation's name, or nothing.
  get organisation() {
    return this.radio && "organisation" in this.radio.dataset ? this.radio.value : "";
  }

  // Bytes that may still be kept, where there is a choice.
  get left() {
    return this.radio ? Number(this.radio.dataset.left) : null;
  }
}
