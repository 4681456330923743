# cmake -DIN=FILE -DOUT=FILE.c -DNAME=array -P embed.cmake: a file as a C array, so that the server
# needs nothing beside its executable.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
file(WRITE ${OUT} "#include \"server/rpc/${NAME}.h\"\n"
    "const unsigned char ${NAME}[] = {\n${hex}};\n"
    "const size_t ${NAME}_bytes = ${bytes};\n")
