// Usage: node ohif.js MODULES CHROMIUM ORIGIN MODE STUDY FOLDER
// Opens a study in a mode of OHIF (viewer, microscopy) and then each of its series by a double
// click on its thumbnail; writes a picture of each, and prints what was said on the way.
'use strict'
const path = require('path')
const [modules, executablePath, origin, mode, study, folder] = process.argv.slice(2)
const { withPage } = require('./browser.js')
const puppeteer = require(path.join(modules, 'puppeteer-core'))
const PANEL = '[data-cy="side-panel-header-left"]'
const THUMBNAILS = '[data-cy^="study-browser-thumbnail"]'

async function rest (page) {
  await page.waitForNetworkIdle({ idleTime: 1000, timeout: 30000 }).catch(() => {})
  if (await page.$('object')) await new Promise(resolve => setTimeout(resolve, 4000)) // a document
  let before = ''
  for (let tries = 0; tries < 15; tries++) {
    await new Promise(resolve => setTimeout(resolve, 1000))
    const now = Buffer.from(await page.screenshot()).toString('base64')
    if (now === before) return
    before = now
  }
}

async function grid (page) { // where images are shown: left, top, right, bottom
  return page.evaluate(() => {
    const place = document.querySelector('[data-cy="viewport-grid"]')?.getBoundingClientRect()
    return place ? [place.left, place.top, place.right, place.bottom].map(Math.round) : null
  })
}

async function images (page) {
  const place = await grid(page)
  if (!place) return ''
  const [x, y, right, bottom] = place
  const clip = { x, y, width: right - x, height: bottom - y }
  return Buffer.from(await page.screenshot({ clip })).toString('base64')
}

async function open (page) {
  await page.goto(`${origin}/${mode}?StudyInstanceUIDs=${study}`, { timeout: 120000 })
  await page.waitForSelector(PANEL, { timeout: 90000 })
  await rest(page)
  await page.evaluate(() => { // the tour for beginners lies over everything
    [...document.querySelectorAll('button')].find(b => b.innerText === 'Skip all')?.click()
  })
  if (!(await page.$(THUMBNAILS))) await page.click(PANEL) // closed in the mode for microscopy
  await page.waitForSelector(THUMBNAILS, { timeout: 30000 }).catch(async error => {
    await page.screenshot({ path: path.join(folder, `${mode}-failed.png`) })
    throw error
  })
  await rest(page)
}

async function main () {
  await withPage(puppeteer, executablePath, 1400, 900, async (page, said) => {
    page.on('response', answer => { if (answer.status() >= 400) said.push(`${answer.status()} ${answer.url()}`) })
    await open(page)
    await page.screenshot({ path: path.join(folder, `${mode}-0-opened.png`) })
    const report = [{ n: 0, text: 'opened', said: said.splice(0) }]
    const count = (await page.$$(THUMBNAILS)).length
    const shows = async (index, n) => {
      const thumbnail = (await page.$$(THUMBNAILS))[index]
      if (!thumbnail) return
      const text = await thumbnail.evaluate(e => { e.scrollIntoView(); return e.innerText.replace(/\s+/g, ' ') })
      const before = await images(page)
      await thumbnail.click({ count: 2 })
      await rest(page)
      const changed = before !== await images(page)
      const place = await grid(page)
      await page.screenshot({ path: path.join(folder, `${mode}-${n}.png`) })
      const broke = await page.evaluate(() => { // and why
        const details = [...document.querySelectorAll('button')].find(b => b.innerText === 'Show Details')
        details?.click()
        return Boolean(details)
      })
      if (broke) await rest(page)
      const seen = await page.evaluate(() => document.body.innerText.replace(/\s+/g, ' ').slice(0, 3000))
      if (!(await page.$(THUMBNAILS))) await open(page) // the page broke: it is black and stays so
      report.push({ n, index, text, changed, broke, grid: place, said: said.splice(0), seen })
    }
    for (let index = 0; index < count; index++) await shows(index, index + 1)
    // Slides once more: OHIF goes back to them where it shows nothing else, and at another size
    // than at first.
    for (const { index, text } of report.slice(1).filter(one => one.text.startsWith('SM '))) {
      await shows(index, `again-${index + 1}`)
    }
    console.log(JSON.stringify(report, null, 1))
  })
}

main().catch(error => { console.error(error); process.exit(1) })
