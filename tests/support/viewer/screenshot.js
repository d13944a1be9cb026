// Usage: node screenshot.js MODULES CHROMIUM ADDRESS FOLDER
// Opens the slide, then the heatmap over it; writes slide.png, heatmap.png and legend.png.
'use strict'
const path = require('path')
const { settled, withPage } = require('./browser.js')
const [modules, executablePath, address, folder] = process.argv.slice(2)
const puppeteer = require(path.join(modules, 'puppeteer-core'))

async function main () {
  await withPage(puppeteer, executablePath, 1024, 768, async (page, said) => {
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
  })
}

main().catch(error => { console.error(error); process.exit(1) })
