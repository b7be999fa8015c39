'use strict';

const path = require('node:path');

/** Content types by the extensions of files, `type: extensions`. */
const TYPES = {
  'application/atom+xml': 'atom',
  'application/font-sfnt': 'otf otc ttf',
  'application/font-woff': 'woff woff2',
  'application/gzip': 'gz tgz',
  'application/java-archive': 'jar war',
  'application/javascript': 'js mjs cjs',
  'application/json': 'json map',
  'application/ld+json': 'jsonld',
  'application/manifest+json': 'webmanifest',
  'application/msword': 'doc',
  'application/octet-stream': 'a bin class dll dmg exe iso o so',
  'application/pdf': 'pdf',
  'application/postscript': 'ai eps ps',
  'application/rss+xml': 'rss',
  'application/rtf': 'rtf',
  'application/vnd.ms-excel': 'xls',
  'application/vnd.ms-powerpoint': 'pps ppt',
  'application/vnd.oasis.opendocument.presentation': 'odp',
  'application/vnd.oasis.opendocument.spreadsheet': 'ods',
  'application/vnd.oasis.opendocument.text': 'odt',
  'application/vnd.openxmlformats-officedocument.presentationml.presentation': 'pptx',
  'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet': 'xlsx',
  'application/vnd.openxmlformats-officedocument.wordprocessingml.document': 'docx',
  'application/wasm': 'wasm',
  'application/x-7z-compressed': '7z',
  'application/x-bzip2': 'bz2',
  'application/x-sh': 'sh',
  'application/x-tar': 'tar',
  'application/xhtml+xml': 'xhtml',
  'application/xml': 'xml xsl xslt',
  'application/zip': 'zip',
  'audio/aac': 'aac',
  'audio/midi': 'mid midi',
  'audio/mp4': 'm4a',
  'audio/mpeg': 'mp3',
  'audio/ogg': 'oga opus',
  'audio/wav': 'wav',
  'audio/x-mpegurl': 'm3u',
  'image/avif': 'avif',
  'image/bmp': 'bmp',
  'image/gif': 'gif',
  'image/jpeg': 'jpeg jpg',
  'image/png': 'png',
  'image/svg+xml': 'svg svgz',
  'image/tiff': 'tif tiff',
  'image/vnd.microsoft.icon': 'ico',
  'image/webp': 'webp',
  'message/rfc822': 'eml mime',
  'text/calendar': 'ics',
  'text/css': 'css',
  'text/csv': 'csv',
  'text/html': 'htm html',
  'text/markdown': 'md',
  'text/x-c': 'c cc cxx h hh',
  'text/x-vcard': 'vcf',
  'text/yaml': 'yaml yml',
  'video/3gpp': '3gp',
  'video/mp4': 'm4v mp4 mp4v',
  'video/mpeg': 'mpeg mpg',
  'video/ogg': 'ogv ogg',
  'video/quicktime': 'mov qt',
  'video/webm': 'webm',
  'video/x-msvideo': 'avi',
};

/** Compat: what is not known is text (pm2's static server; `__test__/api/serve.test.js`). */
const UNKNOWN = 'text/plain';

const BY_EXTENSION = new Map(Object.entries(TYPES).flatMap(([type, list]) => list.split(' ').map((extension) => [extension, type])));

/** The content type of a file, told by its name. */
function typeOf(file) {
  return BY_EXTENSION.get(path.extname(file).slice(1).toLowerCase()) ?? UNKNOWN;
}

module.exports = { typeOf };
