// Usage: node screenshot.js MODULES CHROMIUM ADDRESS FOLDER
// Opens the slide, then the heatmap over it; writes slide.png, heatmap.png and legend.png.
'use strict'
const path = require('path')
const [modules, executablePath, address, folder] = process.argv.slice(2)
const puppeteer = require(path.join(modules, 'puppeteer-core'))

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

async function main () {
  const browser = await puppeteer.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
      '--disable-dev-shm-usage',
      '--window-size=1024,768'
    ]
  })
  try {
    const page = await browser.newPage()
    const said = []
    page.on('console', message => { if (message.type() === 'error') said.push(message.text()) })
    page.on('pageerror', error => said.push(String(error)))
    await page.setViewport({ width: 1024, height: 768 })
    await page.goto(address)
    await page.evaluate(() => document.body.classList.add('bare'))
    const blank = await page.screenshot()
    await page.evaluate(() => showSlide())
    const slide = await settled(page, blank)
    await page.screenshot({ path: path.join(folder, 'slide.png') })
    const legends = await page.evaluate(() => showHeatmap())
    await settled(page, slide)
    await page.screenshot({ path: path.join(folder, 'heatmap.png') })
    await page.evaluate(() => document.body.classList.remove('bare'))
    await page.screenshot({ path: path.join(folder, 'legend.png') })
    const errors = await page.evaluate(() => window.errors)
    console.log(JSON.stringify({ legends, errors, said }))
  } finally {
    await browser.close()
  }
}

main().catch(error => { console.error(error); process.exit(1) })
