/* SPDX-License-Identifier: Apache-2.0 */
/* XML and YAML, looked over before machines are made of them: see syntax.h. */
#include "fleet/syntax.h"

#include <expat.h>
#include <yaml.h>

#include "fleet/fleet_int.h"

int xml_check(const char *what, const struct buf *text, char why[FLEET_WHY])
{
	XML_Parser p = XML_ParserCreate(NULL);
	int err = 0;

	if (!p)
		return refuse(why, -ENOMEM, "out of memory");
	if (XML_Parse(p, (const char *)text->data, (int)text->len, 1) != XML_STATUS_OK)
		err = refuse(why, -EINVAL, "%s: line %lu: is not XML: %s", what, (unsigned long)XML_GetCurrentLineNumber(p),
			     XML_ErrorString(XML_GetErrorCode(p)));
	XML_ParserFree(p);
	return err;
}

/* The next event's kind; the root of a document must be a mapping. */
static int yaml_next(yaml_parser_t *p, const char *what, bool *root, yaml_event_type_t *ret, char why[FLEET_WHY])
{
	yaml_event_t e;
	size_t line;

	if (!yaml_parser_parse(p, &e))
		return refuse(why, -EINVAL, "%s: line %zu: is not YAML: %s", what, p->problem_mark.line + 1,
			      p->problem ? p->problem : "out of memory");
	*ret = e.type;
	line = e.start_mark.line + 1;
	yaml_event_delete(&e);
	if (*root && *ret != YAML_MAPPING_START_EVENT)
		return refuse(why, -EINVAL, "%s: line %zu: is no mapping; it must have lines of KEY: VALUE", what, line);
	*root = *ret == YAML_DOCUMENT_START_EVENT;
	return 0;
}

int yaml_check(const char *what, const struct buf *text, char why[FLEET_WHY])
{
	yaml_event_type_t type = YAML_NO_EVENT;
	yaml_parser_t p;
	bool root = false;
	int err = 0;

	if (!yaml_parser_initialize(&p))
		return refuse(why, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&p, (const unsigned char *)text->data, text->len);
	while (!err && type != YAML_STREAM_END_EVENT)
		err = yaml_next(&p, what, &root, &type, why);
	yaml_parser_delete(&p);
	return err;
}
