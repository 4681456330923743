#include "client/credentials.h"

#include <errno.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PEM_BYTES_MAX = 1024 * 1024,
    RESPONSE_MAX_BYTES = 64 * 1024 * 1024, /* A listing of 10,000 arms is a few MiB. */
};

__attribute__((format(printf, 2, 3))) static bool say(char why[CREDENTIALS_WHY_CAP],
                                                      const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, CREDENTIALS_WHY_CAP, fmt, args);
    va_end(args);
    return false;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, PEM_BYTES_MAX + 1);
    free(text);
}

/* Unbuffered, so that no copy of a key stays in a buffer that nobody wipes. */
static bool read_all(const char *option, const char *path, char *text, char *why)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return say(why, "%s: %s: %s", option, path, strerror(errno));
    (void)setvbuf(f, NULL, _IONBF, 0);
    size_t n = fread(text, 1, PEM_BYTES_MAX, f);
    text[n] = '\0';
    bool bad = ferror(f) != 0, more = !feof(f) && fgetc(f) != EOF;
    (void)fclose(f);
    if (bad)
        return say(why, "%s: %s: cannot be read", option, path);
    return more ? say(why, "%s: %s: more than a MiB", option, path) : true;
}

/* path NULL: *ret is NULL. The text has to hold `mark`, as gRPC does not say what is wrong with
 * one that is no PEM. */
static bool read_pem(const char *option, const char *path, const char *mark, const char *what,
                     char **ret, char *why)
{
    *ret = NULL;
    if (!path)
        return true;
    char *text = malloc(PEM_BYTES_MAX + 1);
    if (!text)
        return say(why, "%s", "");
    bool ok = read_all(option, path, text, why);
    if (ok && !strstr(text, mark))
        ok = say(why, "%s: %s: holds no %s in PEM (%s)", option, path, what, mark);
    if (ok)
        *ret = text;
    else
        wipe(text);
    return ok;
}

static bool options_fit(const char *address, const struct call_tls *tls, char *why)
{
    if (strncmp(address, "unix:", 5) == 0)
        return say(why,
                   "%s: TLS is for HOST:PORT; who may use a unix socket is said by its "
                   "file's mode",
                   address);
    if (!tls->cert != !tls->key)
        return say(why, "tls_cert and tls_key go together; %s is missing",
                   tls->cert ? "tls_key" : "tls_cert");
    return true;
}

struct grpc_channel_credentials *credentials_new(const char *address, const struct call_tls *tls,
                                                 char why[CREDENTIALS_WHY_CAP])
{
    char *ca = NULL, *cert = NULL, *key = NULL;
    grpc_channel_credentials *made = NULL;
    why[0] = '\0';
    if (!tls)
        return grpc_insecure_credentials_create();
    if (options_fit(address, tls, why) &&
        read_pem("tls_ca", tls->ca, "-----BEGIN CERTIFICATE-----", "certificate", &ca, why) &&
        read_pem("tls_cert", tls->cert, "-----BEGIN CERTIFICATE-----", "certificate", &cert, why) &&
        read_pem("tls_key", tls->key, "PRIVATE KEY-----", "private key", &key, why)) {
        grpc_ssl_pem_key_cert_pair pair = {key, cert};
        made = grpc_ssl_credentials_create_ex(ca, key ? &pair : NULL, NULL, NULL);
        if (!made)
            (void)say(why, "gRPC takes no TLS credentials from these files");
    }
    free(ca);
    free(cert);
    wipe(key);
    return made;
}

/* ---- the channel ---- */

/* A server that restarts is found again within a second, not within gRPC's two minutes. */
#define RECONNECT_FIRST_MS 100
#define RECONNECT_MAX_MS 1000

static char *text_of(const char *constant)
{
    return (char *)(uintptr_t)constant; /* gRPC takes its keys without const and does not write. */
}

static grpc_arg integer_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = text_of(key), .value.integer = value};
}

static grpc_arg text_arg(const char *key, const char *value)
{
    return (grpc_arg){.type = GRPC_ARG_STRING, .key = text_of(key), .value.string = text_of(value)};
}

grpc_channel *credentials_channel(const char *address, const struct call_tls *tls,
                                  grpc_channel_credentials *creds)
{
    const char *server_name = tls ? tls->server_name : NULL;
    grpc_arg args[] = {
        integer_arg("grpc.enable_retries", 0),
        integer_arg("grpc.enable_http_proxy", 0),
        integer_arg("grpc.service_config_disable_resolution", 1),
        integer_arg("grpc.use_local_subchannel_pool", 1),
        integer_arg("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        integer_arg("grpc.min_reconnect_backoff_ms", RECONNECT_MAX_MS),
        integer_arg("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        integer_arg("grpc.max_receive_message_length", RESPONSE_MAX_BYTES),
        text_arg(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                 server_name), /* The last: it may be left out. */
    };
    grpc_channel_args all = {sizeof args / sizeof *args - (server_name ? 0 : 1), args};
    return grpc_channel_create(address, creds, &all);
}
