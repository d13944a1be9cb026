// Usage: node kinds.js MODULES CHROMIUM FOLDER JOBS
// JOBS is JSON: [{address, name, layers: [{how, name, series}]}]. Opens each address, then each
// layer over a fresh copy of the slide; writes NAME.png and NAME-LAYER.png, prints what it is called.
'use strict'
const path = require('path')
const { settled, withPage } = require('./browser.js')
const [modules, executablePath, folder, jobs] = process.argv.slice(2)
const puppeteer = require(path.join(modules, 'puppeteer-core'))

async function opened (page, address) {
  await page.goto(address)
  await page.evaluate(() => document.body.classList.add('bare'))
  const blank = await page.screenshot()
  await page.evaluate(() => showSlide())
  return settled(page, blank)
}

async function main () {
  const report = await withPage(puppeteer, executablePath, 1024, 768, async (page, said) => {
    const report = { names: {}, errors: [], said }
    for (const job of JSON.parse(jobs)) {
      await opened(page, job.address)
      await page.screenshot({ path: path.join(folder, `${job.name}.png`) })
      for (const [n, layer] of job.layers.entries()) {
        const slide = n ? await opened(page, job.address) : await page.screenshot()
        const name = `${job.name}-${layer.name}`
        report.names[name] = await page.evaluate((how, series) => show[how](series), layer.how, layer.series)
        await settled(page, slide)
        await page.screenshot({ path: path.join(folder, `${name}.png`) })
        report.errors.push(...(await page.evaluate(() => window.errors)))
      }
    }
    return report
  })
  console.log(JSON.stringify(report))
}

main().catch(error => { console.error(error); process.exit(1) })
