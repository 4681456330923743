#include "state/model/capability.h"

enum err capability_check(const struct capability *c, struct err_detail *detail)
{
    if (c->modalities >> MODALITIES)
        return err_say(detail, ERR_OUT_OF_RANGE, "modalities: there are %d, from text on",
                       MODALITIES);
    if (c->tools > DECLARED_YES || c->json > DECLARED_YES)
        return err_say(detail, ERR_OUT_OF_RANGE, "tools and json are yes, no or not declared");
    return OK;
}

const char *modality_name(uint32_t modality)
{
    static const char *const names[MODALITIES] = {"text", "image", "audio", "video", "file"};
    return modality < MODALITIES ? names[modality] : NULL;
}

void capability_encode(const struct capability *c, struct buf *out)
{
    buf_put_u32(out, c->context_window);
    buf_put_u32(out, c->max_output_tokens);
    buf_put_u8(out, c->modalities);
    buf_put_u8(out, c->tools);
    buf_put_u8(out, c->json);
}

void capability_decode(struct reader *r, struct capability *ret)
{
    ret->context_window = reader_u32(r);
    ret->max_output_tokens = reader_u32(r);
    ret->modalities = reader_u8(r);
    ret->tools = reader_u8(r);
    ret->json = reader_u8(r);
    if (capability_check(ret, NULL) != OK)
        r->failed = true;
}
