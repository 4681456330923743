#include "server/adapters/engine_answer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Before the parser allocates: 1 MiB of "[1,1,..." would become 16 MiB of nodes, and of "[[[[" a
 * deep recursion. Not a check of the grammar. */
static bool bounded(struct slice body, size_t most)
{
    const char *p = body.data;
    size_t depth = 0, values = 0;
    bool text = false;
    for (size_t i = 0; i < body.len; i++) {
        if (text) {
            if (p[i] == '\\')
                i++;
            else
                text = p[i] != '"';
            continue;
        }
        text = p[i] == '"';
        values += p[i] == ',' || p[i] == '[' || p[i] == '{';
        depth += p[i] == '[' || p[i] == '{';
        if ((p[i] == ']' || p[i] == '}') && depth > 0)
            depth--;
        if (depth > ENGINE_JSON_DEPTH || values > most)
            return false;
    }
    return true;
}

static json_t *parse_most(struct slice body, size_t most)
{
    return body.len && bounded(body, most) ? json_loadb(body.data, body.len, 0, NULL) : NULL;
}

static json_t *parse(struct slice body)
{
    return parse_most(body, ENGINE_JSON_VALUES);
}

enum err engine_models(struct slice body, engine_model_fn *fn, void *ctx)
{
    json_t *root = parse_most(body, ENGINE_LIST_VALUES);
    json_t *data = json_object_get(root, "data");
    enum err e = json_is_array(data) ? OK : ERR_ENGINE_ANSWER;
    size_t i;
    json_t *row;
    json_array_foreach(data, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "id"));
        if (!id)
            e = ERR_ENGINE_ANSWER;
        else if (e == OK)
            fn(ctx, id, json_string_value(json_object_get(row, "parent")));
    }
    json_decref(root);
    return e;
}

enum err engine_loras(struct slice body, engine_lora_fn *fn, void *ctx)
{
    json_t *root = parse(body);
    enum err e = json_is_array(root) ? OK : ERR_ENGINE_ANSWER;
    size_t i;
    json_t *row;
    json_array_foreach(root, i, row)
    {
        json_t *id = json_object_get(row, "id"), *scale = json_object_get(row, "scale");
        const char *path = json_string_value(json_object_get(row, "path"));
        json_int_t number = json_integer_value(id);
        if (!path || !json_is_integer(id) || number < 0 || number > ENGINE_LORA_ID_MAX ||
            !json_is_number(scale))
            e = ERR_ENGINE_ANSWER;
        else if (e == OK)
            fn(ctx, (uint32_t)number, path, json_number_value(scale));
    }
    json_decref(root);
    return e;
}

/* False: not a list of adapters. */
static bool only_lora(json_t *list, int32_t *ret_lora)
{
    size_t i, on = 0;
    json_t *row;
    *ret_lora = -1;
    json_array_foreach(list, i, row)
    {
        json_t *id = json_object_get(row, "id"), *scale = json_object_get(row, "scale");
        if (!json_is_integer(id) || !json_is_number(scale))
            return false;
        double amount = json_number_value(scale);
        json_int_t number = json_integer_value(id);
        if ((amount > 0 || amount < 0) && number >= 0 && number <= ENGINE_LORA_ID_MAX) {
            *ret_lora = (int32_t)number;
            on++;
        }
    }
    if (on != 1)
        *ret_lora = -1;
    return json_is_array(list);
}

enum err engine_slots(struct slice body, engine_slot_fn *fn, void *ctx)
{
    json_t *root = parse(body);
    enum err e = json_array_size(root) > 0 ? OK : ERR_ENGINE_ANSWER;
    size_t i;
    json_t *row;
    json_array_foreach(root, i, row)
    {
        json_t *id = json_object_get(row, "id"), *params = json_object_get(row, "params");
        int32_t lora = -1;
        if (!json_is_integer(id) || json_integer_value(id) != (json_int_t)i ||
            (params && !only_lora(json_object_get(params, "lora"), &lora)))
            e = ERR_ENGINE_ANSWER;
        else if (e == OK)
            fn(ctx, (uint32_t)i, lora);
    }
    json_decref(root);
    return e;
}

enum err engine_props(struct slice body, uint32_t *ret_slots)
{
    json_t *root = parse(body);
    json_t *slots = json_object_get(root, "total_slots");
    json_int_t n = json_integer_value(slots);
    enum err e = n >= 1 && n <= UINT32_MAX ? OK : ERR_ENGINE_ANSWER;
    if (e == OK)
        *ret_slots = (uint32_t)n;
    json_decref(root);
    return e;
}

static int among(json_t *loaded, const char *name)
{
    if (json_is_object(loaded))
        return json_object_get(loaded, name) != NULL;
    if (!json_is_array(loaded))
        return -1;
    size_t i;
    json_t *row;
    json_array_foreach(loaded, i, row)
    {
        const char *one = json_string_value(row);
        if (one && strcmp(one, name) == 0)
            return 1;
    }
    return 0;
}

enum err engine_load(struct slice body, const char *name, struct engine_load_answer *ret)
{
    json_t *root = parse(body);
    json_t *success = json_object_get(root, "success");
    enum err e = json_is_boolean(success) ? OK : ERR_ENGINE_ANSWER;
    if (e == OK)
        *ret = (struct engine_load_answer){
            .success = json_is_true(success),
            .listed = among(json_object_get(root, "loaded_adapters"), name),
        };
    json_decref(root);
    return e;
}

enum err engine_completion(struct slice body)
{
    json_t *root = parse(body);
    bool good = json_array_size(json_object_get(root, "choices")) > 0 ||
                json_is_string(json_object_get(root, "content"));
    json_decref(root);
    return good ? OK : ERR_ENGINE_ANSWER;
}

static const char *words_of(const json_t *root)
{
    static const char *const fields[] = {"error_message", "message", "detail", "error"};
    const json_t *inner = json_object_get(root, "error");
    if (json_is_object(inner))
        root = inner;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *text = json_string_value(json_object_get(root, fields[i]));
        if (text && *text)
            return text;
    }
    return NULL;
}

void engine_error(struct slice body, const char *secret, char *ret_text)
{
    json_t *root = parse(body);
    const char *words = words_of(root);
    const char *from = words ? words : body.data;
    size_t len = words ? strlen(words) : body.len;
    size_t n = 0;
    /* Before it is cut: a part of it would tell as well. */
    if (secret && len && memmem(from, len, secret, strlen(secret))) {
        from = "(its words repeat the token, and are left out)";
        len = strlen(from);
    }
    for (size_t i = 0; i < len && n + 1 < ENGINE_WORDS_CAP; i++)
        ret_text[n++] = (char)(from[i] >= ' ' && from[i] < 0x7f ? from[i] : ' ');
    while (n > 0 && ret_text[n - 1] == ' ')
        n--;
    ret_text[n] = 0;
    json_decref(root);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':';
}

/* From the '{' at line[at]; where the matching '}' is, or len. */
static size_t labels_end(const char *line, size_t len, size_t at)
{
    bool text = false;
    for (size_t i = at; i < len; i++) {
        if (text && line[i] == '\\')
            i++;
        else if (line[i] == '"')
            text = !text;
        else if (!text && line[i] == '}')
            return i;
    }
    return len;
}

static bool read_sample(const char *line, size_t len, struct engine_metric *ret)
{
    size_t n = 0;
    while (n < len && name_char(line[n]))
        n++;
    if (n == 0 || n == len)
        return false;
    ret->name = (struct slice){line, n};
    ret->labels = (struct slice){line + n, 0};
    size_t at = n;
    if (line[n] == '{') {
        size_t end = labels_end(line, len, n);
        if (end == len)
            return false;
        ret->labels = (struct slice){line + n + 1, end - n - 1};
        at = end + 1;
    }
    while (at < len && line[at] == ' ')
        at++;
    char number[64]; /* strtod wants an end; a longer number is none. */
    size_t digits = len - at < sizeof number - 1 ? len - at : sizeof number - 1;
    memcpy(number, line + at, digits);
    number[digits] = 0;
    char *end;
    ret->value = strtod(number, &end);
    return end != number;
}

bool engine_metric_next(struct slice *rest, struct engine_metric *ret)
{
    while (rest->len > 0) {
        const char *line = rest->data;
        const char *end = memchr(line, '\n', rest->len);
        size_t len = end ? (size_t)(end - line) : rest->len;
        size_t taken = len + (end != NULL);
        *rest = (struct slice){line + taken, rest->len - taken};
        if (line[0] != '#' && read_sample(line, len, ret))
            return true;
    }
    return false;
}

/* The value after name=", unescaped; true when it ended in time. */
static bool copy_value(const char *p, size_t len, char *ret_text, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (c == '"') {
            ret_text[n] = 0;
            return true;
        }
        if (c == '\\' && i + 1 < len) {
            c = p[++i];
            c = (char)(c == 'n' ? '\n' : c);
        }
        if (n + 1 >= cap)
            return false;
        ret_text[n++] = c;
    }
    return false;
}

bool engine_metric_label(const struct engine_metric *m, const char *label, char *ret_text,
                         size_t cap)
{
    const char *p = m->labels.data;
    size_t len = m->labels.len, want = strlen(label);
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && name_char(p[i + n]))
            n++;
        if (i + n + 1 >= len || p[i + n] != '=' || p[i + n + 1] != '"')
            return false;
        size_t value = i + n + 2;
        if (n == want && memcmp(p + i, label, n) == 0)
            return cap > 0 && copy_value(p + value, len - value, ret_text, cap);
        for (i = value; i < len && p[i] != '"'; i++)
            i += p[i] == '\\';
        i++;
        while (i < len && (p[i] == ',' || p[i] == ' '))
            i++;
    }
    return false;
}
