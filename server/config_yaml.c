#include "server/config_yaml.h"
#include "server/config_settings.h"
#include "server/ops/input.h"
#include "state/base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#define KNOWN_CAP 512

struct walk {
    struct config *config;
    struct err_detail *detail;
};

__attribute__((format(printf, 3, 4))) static enum err say_at(const struct walk *w, yaml_mark_t at,
                                                             const char *fmt, ...)
{
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_say(w->detail, ERR_PARSE, "%s:%zu:%zu: %s", w->config->file, at.line + 1,
                   at.column + 1, text);
}

static const char *scalar(const yaml_node_t *n)
{
    return (const char *)n->data.scalar.value;
}

/* Parses one value; s->key for people when something is wrong. */
static enum err take_scalar(const struct walk *w, const struct setting *s, const yaml_node_t *n,
                            bool more)
{
    char why[SETTINGS_WHY_CAP];
    if (n->type != YAML_SCALAR_NODE)
        return say_at(w, n->start_mark, "%s: expected a single value", s->key);
    if (strlen(scalar(n)) != n->data.scalar.length)
        return say_at(w, n->start_mark, "%s: a NUL byte", s->key);
    if (!settings_set(w->config, s, scalar(n), more, why))
        return say_at(w, n->start_mark, "%s: %s", s->key, why);
    return OK;
}

static enum err take_setting(const struct walk *w, const struct setting *s, const yaml_node_t *key,
                             const yaml_node_t *value)
{
    struct config_origin *origin = settings_origin(w->config, s);
    *origin = (struct config_origin){ORIGIN_FILE, key->start_mark.line + 1};
    if (s->kind != SETTING_ADDRESSES || value->type != YAML_SEQUENCE_NODE)
        return take_scalar(w, s, value, false);
    const yaml_node_item_t *i = value->data.sequence.items.start;
    if (i == value->data.sequence.items.top)
        return say_at(w, value->start_mark, "%s: expected at least one address", s->key);
    for (; i < value->data.sequence.items.top; i++)
        TRY(take_scalar(w, s, yaml_document_get_node(w->config->document, *i),
                        i > value->data.sequence.items.start));
    return OK;
}

/* Whether an earlier key of the mapping reads the same. */
static bool repeated(yaml_document_t *d, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
                     const char *key)
{
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++)
        if (!strcmp(scalar(yaml_document_get_node(d, p->key)), key))
            return true;
    return false;
}

static enum err take_mapping(const struct walk *w, const char *section, const yaml_node_t *mapping);

static enum err take_pair(const struct walk *w, const char *section, const yaml_node_t *mapping,
                          const yaml_node_pair_t *pair)
{
    yaml_document_t *d = w->config->document;
    const yaml_node_t *key = yaml_document_get_node(d, pair->key);
    const yaml_node_t *value = yaml_document_get_node(d, pair->value);
    if (key->type != YAML_SCALAR_NODE)
        return say_at(w, key->start_mark, "expected the name of a setting");
    if (repeated(d, mapping, pair, scalar(key)))
        return say_at(w, key->start_mark, "\"%.64s\" stands here twice", scalar(key));
    if (!*section && !strcmp(scalar(key), "bootstrap")) {
        w->config->bootstrap = pair->value;
        return OK;
    }
    if (!*section && settings_is_section(scalar(key)))
        return take_mapping(w, scalar(key), value);
    char full[CONFIG_SOURCE_CAP];
    const int n = snprintf(full, sizeof full, "%s%s%s", section, *section ? "." : "", scalar(key));
    /* "tls.cert: x" at the top is not how the file is written, though it is a setting's name. */
    const bool fits = n > 0 && (size_t)n < sizeof full && !strchr(scalar(key), '.');
    const struct setting *s = fits ? settings_find(full) : NULL;
    if (s)
        return take_setting(w, s, key, value);
    char known[KNOWN_CAP];
    (void)settings_list(section, known, sizeof known);
    return say_at(w, key->start_mark, "unknown key \"%.64s\"; known here: %s%s", scalar(key), known,
                  *section ? "" : ", bootstrap");
}

static enum err take_mapping(const struct walk *w, const char *section, const yaml_node_t *mapping)
{
    char known[KNOWN_CAP];
    if (mapping->type != YAML_MAPPING_NODE)
        return say_at(w, mapping->start_mark, "%s%sexpected keys with values: %s", section,
                      *section ? ": " : "", settings_list(section, known, sizeof known));
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start;
         p < mapping->data.mapping.pairs.top; p++)
        TRY(take_pair(w, section, mapping, p));
    return OK;
}

/* An alias makes a node the child of two, or of itself: readers that walk a tree would not end.
 * Every node but the root is somebody's child once. */
static enum err check_tree(const struct walk *w)
{
    yaml_document_t *d = w->config->document;
    const size_t n = (size_t)(d->nodes.top - d->nodes.start);
    unsigned char *seen = mem_calloc(n + 1, 1);
    if (!seen)
        return err_say(w->detail, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    enum err e = OK;
    seen[1] = 1;
    for (const yaml_node_t *node = d->nodes.start; node < d->nodes.top && !e; node++) {
        if (node->type == YAML_SEQUENCE_NODE)
            for (const yaml_node_item_t *i = node->data.sequence.items.start;
                 i < node->data.sequence.items.top && !e; i++)
                e = seen[*i]++ ? say_at(w, node->start_mark, "aliases (*name) are not taken here")
                               : OK;
        if (node->type == YAML_MAPPING_NODE)
            for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
                 p < node->data.mapping.pairs.top && !e; p++)
                e = seen[p->key]++ || seen[p->value]++
                        ? say_at(w, node->start_mark, "aliases (*name) are not taken here")
                        : OK;
    }
    mem_free(seen);
    return e;
}

static enum err parse(const struct walk *w, const unsigned char *text, size_t len)
{
    struct config *c = w->config;
    yaml_parser_t parser;
    yaml_document_t next;
    if (!yaml_parser_initialize(&parser))
        return err_say(w->detail, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    yaml_parser_set_input_string(&parser, text, len);
    enum err e = OK;
    c->document = mem_calloc(1, sizeof *c->document);
    if (!c->document) {
        e = err_say(w->detail, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    } else if (!yaml_parser_load(&parser, c->document)) {
        mem_free(c->document);
        c->document = NULL;
        e = say_at(w, parser.problem_mark, "not YAML: %s", parser.problem ? parser.problem : "?");
    } else if (!yaml_parser_load(&parser, &next)) {
        e = say_at(w, parser.problem_mark, "not YAML: %s", parser.problem ? parser.problem : "?");
    } else {
        if (yaml_document_get_root_node(&next))
            e = say_at(w, next.start_mark, "a second document; one is taken");
        yaml_document_delete(&next);
    }
    yaml_parser_delete(&parser);
    return e;
}

static enum err read_file(const struct walk *w, unsigned char **ret_text, size_t *ret_len)
{
    const char *path = w->config->file;
    struct err_detail why;
    struct stat st;
    int fd = -1;
    enum err e = input_open(path, &fd, &why);
    if (e)
        return err_say(w->detail, e, "%s: %s", path, why.text);
    unsigned char *text = NULL;
    size_t len = 0;
    if (fstat(fd, &st))
        e = err_say(w->detail, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    else if (st.st_size >> 20 >= CONFIG_YAML_MAX_MIB)
        e = err_say(w->detail, ERR_PARSE, "%s: not a file of less than %d MiB", path,
                    CONFIG_YAML_MAX_MIB);
    else if (!(text = mem_alloc((size_t)st.st_size + 1)))
        e = err_say(w->detail, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    for (ssize_t n = 1; !e && n && len < (size_t)st.st_size; len += (size_t)n) {
        n = read(fd, text + len, (size_t)st.st_size - len);
        if (n < 0) {
            e = err_say(w->detail, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
            n = 0;
        }
    }
    (void)close(fd);
    if (e) {
        mem_free(text);
        return e;
    }
    *ret_text = text;
    *ret_len = len;
    return OK;
}

enum err config_yaml_load(struct config *config, struct err_detail *detail)
{
    const struct walk w = {config, detail};
    unsigned char *text = NULL;
    size_t len = 0;
    TRY(read_file(&w, &text, &len));
    const enum err e = parse(&w, text, len);
    mem_free(text);
    TRY(e);
    const yaml_node_t *root = yaml_document_get_root_node(config->document);
    if (!root)
        return OK; /* An empty file says nothing. */
    TRY(check_tree(&w));
    return take_mapping(&w, "", root);
}

void config_yaml_free(struct config *config)
{
    if (!config->document)
        return;
    yaml_document_delete(config->document);
    mem_free(config->document);
}

bool config_bootstrap(const struct config *config, struct yaml_document_s **ret_document,
                      struct yaml_node_s **ret_node)
{
    if (!config->bootstrap)
        return false;
    *ret_document = config->document;
    *ret_node = yaml_document_get_node(config->document, config->bootstrap);
    return true;
}
