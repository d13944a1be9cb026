// Usage: node screenshot.js MODULES CHROMIUM ADDRESS FOLDER
// Opens the slide, then the heatmap over it; writes slide.png, heatmap.png and legend.png.
'use strict'
const path = require('path')
const [modules, executablePath, address, folder] = process.argv.slice(2)
const puppeteer = require(path.join(modules, 'puppeteer-core'))

async function settled (page) {
  // Tiles are decoded by workers after they arrived: wait until the picture stops changing.
  let before = null
  for (let tries = 0; tries < 60; tries++) {
    await page.waitForNetworkIdle({ idleTime: 500, timeout: 30000 })
    const now = await page.screenshot()
    if (before && Buffer.compare(Buffer.from(before), Buffer.from(now)) === 0) return
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
    await page.evaluate(() => showSlide())
    await settled(page)
    await page.screenshot({ path: path.join(folder, 'slide.png') })
    const legends = await page.evaluate(() => showHeatmap())
    await settled(page)
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
