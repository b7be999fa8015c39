'use strict';

const fs = require('node:fs');

/** Whether there is a saved list, or the one before it, that can be read. */
function isSaved({ DUMP_FILE_PATH, DUMP_BACKUP_FILE_PATH }) {
  return [DUMP_FILE_PATH, DUMP_BACKUP_FILE_PATH].some((file) => {
    try {
      return Array.isArray(JSON.parse(fs.readFileSync(file, 'utf8')));
    } catch {
      // Not there, or no list.
      return false;
    }
  });
}

module.exports = { isSaved };
