#include "server/rpc/listen.h"

#include "server/ops/input.h"
#include "state/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_security.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { PEM_BYTES_MAX = 1024 * 1024, PEM_BYTES_USUAL = 128 * 1024 };

static enum err read_pem(const char *path, char **ret_text, struct err_detail *detail)
{
    struct err_detail why;
    struct buf text;
    buf_init(&text);
    (void)buf_room(&text, PEM_BYTES_USUAL); /* At once: growing would leave copies of a key. */
    enum err e = input_read(path, PEM_BYTES_MAX, &text, &why);
    if (e == OK && (text.len == 0 || memchr(text.data, 0, text.len)))
        e = err_say(&why, ERR_INVALID, "empty, or not text");
    buf_put_u8(&text, 0);
    if (e == OK && (e = buf_error(&text)) != OK)
        (void)err_say(&why, e, "out of memory");
    if (e == OK) {
        *ret_text = (char *)text.data;
        return OK;
    }
    if (text.data)
        explicit_bzero(text.data, text.len);
    buf_done(&text);
    /* Not ERR_NOT_FOUND: "check what was named" says less than the sentence. */
    return err_say(detail, e == ERR_NOMEM ? e : ERR_INVALID, "%s: %s", path, why.text);
}

static void wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    mem_free(secret);
}

static enum err tls_credentials(const struct rpc_tls *tls, grpc_server_credentials **ret_creds,
                                struct err_detail *detail)
{
    char *cert = NULL, *key = NULL, *ca = NULL;
    bool mutual = tls->client_ca && tls->client_ca[0];
    enum err e = read_pem(tls->cert, &cert, detail);
    if (e == OK)
        e = read_pem(tls->key, &key, detail);
    if (e == OK && mutual)
        e = read_pem(tls->client_ca, &ca, detail);
    if (e == OK) {
        grpc_ssl_pem_key_cert_pair pair = {key, cert};
        *ret_creds = grpc_ssl_server_credentials_create_ex(
            ca, &pair, 1,
            mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            NULL);
        if (!*ret_creds)
            e = err_say(detail, ERR_INVALID, "%s, %s: not a certificate and its key", tls->cert,
                        tls->key);
    }
    mem_free(cert);
    wipe(key);
    mem_free(ca);
    return e;
}

/* The core unlinks whatever socket file is there: so ask first whether somebody lives behind it. */
static enum err clear_socket_path(const char *path, struct err_detail *detail)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path)
        return err_say(detail, ERR_INVALID, "unix:%s: the path is longer than %zu bytes", path,
                       sizeof a.sun_path - 1);
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? OK
                               : err_say(detail, ERR_ADDRESS, "unix:%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_say(detail, ERR_ADDRESS, "unix:%s: a file is there that is no socket", path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_say(detail, ERR_IO, "unix:%s: %s", path, strerror(errno));
    bool refused = connect(fd, (const struct sockaddr *)&a, sizeof a) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    if (!refused)
        return err_say(detail, ERR_ADDRESS, "unix:%s: in use by another server", path);
    if (unlink(path) != 0)
        return err_say(detail, ERR_ADDRESS,
                       "unix:%s: a dead server's socket that cannot be removed: %s", path,
                       strerror(errno));
    return OK;
}

static enum err add_port(grpc_server *server, const char *address, grpc_server_credentials *creds,
                         char ret_bound[LISTEN_ADDRESS_CAP], struct err_detail *detail)
{
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    if (is_unix)
        TRY(clear_socket_path(address + 5, detail));
    int port = grpc_server_add_http2_port(server, address, creds);
    if (port <= 0)
        return err_say(detail, ERR_ADDRESS, "cannot listen on %s: %s", address,
                       is_unix ? "is its folder there, and may this user write to it?"
                               : "the address is in use, or not this machine's");
    const char *colon = strrchr(address, ':');
    if (is_unix || !colon)
        (void)snprintf(ret_bound, LISTEN_ADDRESS_CAP, "%s", address);
    else
        (void)snprintf(ret_bound, LISTEN_ADDRESS_CAP, "%.*s:%d", (int)(colon - address), address,
                       port);
    return OK;
}

enum err listen_add(grpc_server *server, const char *address, const struct rpc_tls *tls,
                    char ret_bound[LISTEN_ADDRESS_CAP], struct err_detail *detail)
{
    grpc_server_credentials *creds = NULL;
    bool secure = tls && tls->cert && tls->cert[0] && strncmp(address, "unix:", 5) != 0;
    if (secure)
        TRY(tls_credentials(tls, &creds, detail));
    else
        creds = grpc_insecure_server_credentials_create();
    enum err e = add_port(server, address, creds, ret_bound, detail);
    grpc_server_credentials_release(creds);
    return e;
}
