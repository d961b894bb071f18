"Painted photographs as files of every kind: those that every program reads alike, and those that two may read differently"
import io

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from birdclf.testing import paint_bird

TURNED = Image.Exif()
TURNED[0x0112] = 6
SIDEWAYS = TURNED.tobytes()


def file_of(image, format='JPEG', **options):
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def noisy(width, height, *, noise=60, seed=1):
    "A painted robin on a very grainy film"
    image = np.asarray(paint_bird('Rotkehlchen', size=(width//8, height//8)).resize((width, height)), dtype=np.int16)
    grain = np.random.default_rng(seed).integers(-noise, noise+1, image.shape, dtype=np.int16)
    return Image.fromarray((image+grain).clip(0, 255).astype(np.uint8))


def profile():
    "Colours that are wrong without it: red is where blue should be"
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    return data.replace(b'rXYZ', b'XYZ?').replace(b'bXYZ', b'rXYZ').replace(b'XYZ?', b'bXYZ')


def see_through(image):
    "A small hole in a corner"
    image = image.convert('RGBA')
    image.putpixel((5, 5), (0, 0, 0, 0))
    return image


PLAIN = {
    'PNG': lambda image: file_of(image, 'PNG', compress_level=1),
    'PNG with an alpha channel, and no hole': lambda image: file_of(image.convert('RGBA'), 'PNG', compress_level=1),
    'PNG with a palette': lambda image: file_of(image.convert('P'), 'PNG', compress_level=1),
    'grey PNG': lambda image: file_of(image.convert('L'), 'PNG', compress_level=1),
    'PNG with a profile': lambda image: file_of(image, 'PNG', compress_level=1, icc_profile=profile()),
    'WebP': lambda image: file_of(image, 'WEBP', quality=95),
    'WebP with a profile': lambda image: file_of(image, 'WEBP', quality=95, icc_profile=profile()),
    'WebP without loss': lambda image: file_of(image, 'WEBP', lossless=True, method=0),
    'AVIF': lambda image: file_of(image, 'AVIF', quality=95, speed=10),
    'BMP': lambda image: file_of(image, 'BMP'),
}


def cicp():
    "What says in a PNG that it has the brightness of HDR (PQ)"
    info = PngImagePlugin.PngInfo()
    info.add(b'cICP', bytes([9, 16, 0, 1]))
    return info


def damaged(data, at=.5): return data[:int(at*len(data))] + bytes(64) + data[int(at*len(data))+64:]


DELICATE = {
    'PNG of 16 bits': lambda image: file_of(Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16)*257), 'PNG'),
    'PNG with a hole': lambda image: file_of(see_through(image), 'PNG', compress_level=1),
    'WebP with a hole': lambda image: file_of(see_through(image), 'WEBP', lossless=True, method=0),
    'PNG on its side': lambda image: file_of(image, 'PNG', compress_level=1, exif=SIDEWAYS),
    'PNG for HDR': lambda image: file_of(image, 'PNG', compress_level=1, pnginfo=cicp()),
    'AVIF for HDR': lambda image: PLAIN['AVIF'](image).replace(b'nclx\0\1\0\r', b'nclx\0\x09\0\x10'),
    'moving PNG': lambda image: file_of(image, 'PNG', compress_level=1, save_all=True, append_images=[image.rotate(180)]),
    'moving WebP': lambda image: file_of(image, 'WEBP', quality=80, save_all=True, append_images=[image.rotate(180)]),
    'damaged PNG': lambda image: damaged(PLAIN['PNG'](image)),
    'half a PNG': lambda image: (data := PLAIN['PNG'](image))[:len(data)//2],
    'half a WebP': lambda image: (data := PLAIN['WebP without loss'](image))[:len(data)//2],
    'most of an AVIF': lambda image: (data := PLAIN['AVIF'](image))[:len(data)*9//10],
    'half a BMP': lambda image: (data := PLAIN['BMP'](image))[:len(data)//2],
}
