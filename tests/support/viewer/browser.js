// A Chromium that draws in software, and a page that has come to rest: for the scripts beside this.
'use strict'

async function settled (page, unlike) {
  // Tiles are decoded by workers after they arrived: wait until the picture is another than before,
  // which takes seconds on a busy machine, and stops changing. Returns the picture.
  const same = (one, other) => one && Buffer.compare(Buffer.from(one), Buffer.from(other)) === 0
  let before = null
  for (let tries = 0; tries < 60; tries++) {
    await page.waitForNetworkIdle({ idleTime: 500, timeout: 30000 })
    const now = await page.screenshot()
    if (same(before, now) && (tries > 40 || !same(unlike, now))) return now
    before = now
  }
  throw new Error('the picture did not come to rest')
}

async function withPage (puppeteer, executablePath, width, height, work) {
  const browser = await puppeteer.launch({
    executablePath,
    headless: true,
    protocolTimeout: 240000,
    args: [
      '--no-sandbox',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
      '--disable-dev-shm-usage',
      `--window-size=${width},${height}`
    ]
  })
  try {
    const page = await browser.newPage()
    const said = []
    page.on('console', message => { if (message.type() === 'error') said.push(message.text()) })
    page.on('pageerror', error => said.push(String(error)))
    await page.setViewport({ width, height })
    return await work(page, said)
  } finally {
    await browser.close()
  }
}

module.exports = { settled, withPage }
