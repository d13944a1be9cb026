// Opacity, threshold and layers of each map. Without this script the page shows everything.
'use strict'
document.documentElement.classList.add('live')

const loaded = source => new Promise(resolve => {
  const image = new Image()
  image.onload = () => resolve(image)
  image.src = source
})

const pixelsOf = async source => {
  const image = await loaded(source)
  const canvas = document.createElement('canvas')
  canvas.width = image.naturalWidth
  canvas.height = image.naturalHeight
  const context = canvas.getContext('2d', { willReadFrequently: true })
  context.drawImage(image, 0, 0)
  return { canvas, context, data: context.getImageData(0, 0, canvas.width, canvas.height) }
}

for (const map of document.querySelectorAll('.map')) {
  const heat = map.querySelector('.heat')
  const original = heat && heat.src
  const show = {
    opacity: value => { heat.style.opacity = value / 100 },
    threshold: async value => {
      map.querySelector('output').value = Number(value).toFixed(2)
      const [colors, levels] = await Promise.all([original, heat.dataset.levels].map(pixelsOf))
      const least = 1 + 254 * value // a level is 1 + 254 times the value, 0 where there is none
      for (let at = 0; at < levels.data.data.length; at += 4) {
        if (levels.data.data[at] < least - 0.5) colors.data.data[at + 3] = 0
      }
      colors.context.putImageData(colors.data, 0, 0)
      heat.src = colors.canvas.toDataURL()
    },
  }
  for (const input of map.querySelectorAll('[data-sets]')) {
    input.addEventListener('input', () => show[input.dataset.sets](input.value))
  }
  for (const input of map.querySelectorAll('[data-shows]')) {
    input.addEventListener('change', () => {
      map.querySelector('.' + input.dataset.shows).style.display = input.checked ? '' : 'none'
    })
  }
}
