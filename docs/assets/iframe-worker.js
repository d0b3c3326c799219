// The search runs in a worker, and browsers start none for pages that are read from the disk.
// There this class takes its place: it runs the worker's script in a hidden frame of the page.
// (The name of the file tells Zensical that nothing of the kind need be fetched from elsewhere.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inside = this.frame.contentWindow
      const answer = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      inside.postMessage = data => setTimeout(answer, 0, structuredClone(data))
      const script = inside.document.createElement("script")
      script.src = url
      script.onload = () => {
        this.ready = true
        for (const data of this.waiting.splice(0)) this.postMessage(data)
      }
      script.onerror = () => this.onerror && this.onerror(new ErrorEvent("error"))
      inside.document.head.append(script)
    }

    postMessage(data) {
      if (!this.ready) return void this.waiting.push(data)
      const inside = this.frame.contentWindow
      const event = new MessageEvent("message", { data: structuredClone(data) }) // as workers do
      setTimeout(() => inside.onmessage(event), 0)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
