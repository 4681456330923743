/* config_settings.h - the table of settings, and a value of each kind from text and back.
 * Why: the one place where a setting's key, kind, default, unit, range and meaning stand.
 * Private to config. Threads: pure, but for settings_set, which writes the config given. */
#pragma once

#include "server/config.h"

#define SETTINGS_WHY_CAP 512

enum setting_kind {
    SETTING_PATH,
    SETTING_ADDRESSES,
    SETTING_METRICS_ADDRESS, /* HOST:PORT or none. */
    SETTING_LEVEL,
    SETTING_COUNT,
    SETTING_BYTES,
    SETTING_DURATION,
    SETTING_BOOL
};

struct setting {
    const char *key; /* "section.name" for one inside a section. */
    enum setting_kind kind;
    size_t offset;              /* In struct config. */
    const char *fallback;       /* As one would write it; NULL: empty, or filled in later. */
    const char *fallback_words; /* For people, when the fallback depends on others. */
    int64_t min, max;           /* Of numbers, in the unit kept: bytes, microseconds. */
    const char *about;
};

enum origin_kind { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_COMMAND_LINE };

struct config_origin {
    enum origin_kind kind;
    size_t line; /* 1-based, of ORIGIN_FILE. */
};

extern const struct setting settings[];
extern const size_t settings_n;

const struct setting *settings_find(const char *key); /* NULL: there is none. */
struct config_origin *settings_origin(const struct config *c, const struct setting *s);
/* Parses, checks and stores. more: add to a list instead of replacing it. False: *ret_why says what
 * was expected, and nothing changed. */
bool settings_set(struct config *c, const struct setting *s, const char *text, bool more,
                  char ret_why[SETTINGS_WHY_CAP]);
/* The value as one would write it. */
void settings_format(const struct config *c, const struct setting *s,
                     char ret_text[CONFIG_VALUE_CAP]);
/* Meaning, unit and range in one sentence. */
void settings_about(const struct setting *s, char ret_text[CONFIG_ABOUT_CAP]);
/* The keys directly inside a section ("" for the top), joined by ", "; sections once, without what
 * is in them. Returns ret_text. */
const char *settings_list(const char *section, char *ret_text, size_t cap);
/* Whether any key begins with "name.". */
bool settings_is_section(const char *name);
