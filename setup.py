"Packaging from settings.ini, nbdev's own file: `requirements`, and every `*_requirements` key as an extra"
from configparser import ConfigParser
from setuptools import setup

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
config = config['DEFAULT']
suffix = '_requirements'
extras = {key.removesuffix(suffix): value.split() for key, value in config.items() if key.endswith(suffix)}
setup(version=config['version'], description=config['description'],
      install_requires=config['requirements'].split(), extras_require=extras)
