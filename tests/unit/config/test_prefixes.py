#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.


from fuel_agent_curl import errors
from fuel_agent_curl.config import prefixes
from tests import base

ORIGIN = 'http://10.20.0.2:8080/targetimages'


def _sources(url: str, *texts: str) -> list[str]:
    return prefixes.sources(url, prefixes.parse(texts))


class TestSources(base.TestCase):
    def test_the_url_comes_first(self) -> None:
        self.assertEqual(
            [
                ORIGIN + '/a/root.img.gz',
                'http://one/images/a/root.img.gz',
                'https://two/a/root.img.gz',
            ],
            _sources(
                ORIGIN + '/a/root.img.gz',
                ORIGIN + '=http://one/images,https://two',
            ),
        )

    def test_its_place_is_the_one_that_it_is_given(self) -> None:
        self.assertEqual(
            ['http://cache/x', ORIGIN + '/x', 'http://last/x'],
            _sources(
                ORIGIN + '/x',
                '%s=http://cache,%s,http://last' % (ORIGIN, ORIGIN),
            ),
        )

    def test_alone_where_nothing_fits(self) -> None:
        for url in (
            'http://10.20.0.2:8080/targetimages2/x',
            'http://10.20.0.2:8080/target',
            'http://10.20.0.2:80801/targetimages/x',
            'https://10.20.0.2:8080/targetimages/x',
            'http://10.20.0.2:8080/TargetImages/x',
            'http://[::1',
        ):
            self.assertEqual([url], _sources(url, ORIGIN + '=http://one'))
        self.assertEqual([ORIGIN], _sources(ORIGIN))

    def test_a_host_is_no_prefix_of_a_longer_one(self) -> None:
        for prefix in ('http://10.20.0.2', 'http://10.20.0.2/'):
            value = prefix + '=http://one'
            for other in ('http://10.20.0.20/x', 'http://10.20.0.2.org/x'):
                self.assertEqual([other], _sources(other, value))
            self.assertEqual(
                ['http://10.20.0.2/x', 'http://one/x'],
                _sources('http://10.20.0.2/x', value),
            )

    def test_slashes_at_the_ends_do_not_matter(self) -> None:
        for prefix in (ORIGIN, ORIGIN + '/'):
            for mirror in ('http://one/a', 'http://one/a/'):
                self.assertEqual(
                    [ORIGIN + '/x', 'http://one/a/x'],
                    _sources(ORIGIN + '/x', '%s=%s' % (prefix, mirror)),
                )

    def test_the_whole_url_and_a_query(self) -> None:
        for rest in ('', '?a=b,c'):
            self.assertEqual(
                ['http://a/x' + rest, 'http://b/y' + rest],
                _sources('http://a/x' + rest, 'http://a/x=http://b/y'),
            )

    def test_scheme_and_host_in_either_case(self) -> None:
        self.assertEqual(
            ['HTTP://Host/Path', 'http://b/Path'],
            _sources('HTTP://Host/Path', 'http://hOST=http://b'),
        )

    def test_the_longest_prefix_holds(self) -> None:
        values = (
            'http://a=http://general',
            'http://a/deep=http://special',
            'http://a/deep=http://more',
        )
        self.assertEqual(
            ['http://a/deep/x', 'http://special/x', 'http://more/x'],
            _sources('http://a/deep/x', *values),
        )
        self.assertEqual(
            ['http://a/x', 'http://general/x'],
            _sources('http://a/x', *values),
        )

    def test_none_twice(self) -> None:
        self.assertEqual(
            ['http://a/x', 'http://b/x'],
            _sources('http://a/x', 'http://a=http://b,http://b/'),
        )

    def test_an_equals_sign_within_a_prefix(self) -> None:
        self.assertEqual(
            ['http://a/k=v/x', 'http://b/l=w/x'],
            _sources('http://a/k=v/x', 'http://a/k=v=http://b/l=w'),
        )


class TestParse(base.TestCase):
    def test_spaces(self) -> None:
        (prefix,) = prefixes.parse([' http://a = http://b , http://c '])
        self.assertEqual('http://a', prefix.text)
        self.assertEqual(('http://b', 'http://c'), prefix.urls)

    def test_what_is_none(self) -> None:
        for text in (
            '',
            'http://a',
            'http://a=',
            'http://a=b',
            '=http://b',
            'a=http://b',
            'http://a=http://b,',
            'http://a=http://b,c',
            'http://a=http://b,,http://c',
            'http://a=ftp://b',
            'http://a=http://b http://c',
        ):
            error = self.assertRaises(
                errors.OptionError, prefixes.parse, ['http://a=http://b', text]
            )
            self.assertIn('value 2', str(error), text)

    def test_an_error_does_not_tell_a_secret(self) -> None:
        error = self.assertRaises(
            errors.OptionError, prefixes.parse, ['http://me:word@a=b']
        )
        self.assertNotIn('word', str(error))


class TestIsMetalink(base.TestCase):
    def test_which_urls_name_one(self) -> None:
        for url in ('http://h/i.meta4', 'http://h/i.META4?x=y'):
            self.assertTrue(prefixes.is_metalink(url), url)
        for url in ('http://h/i', 'http://h/i?x=.meta4', 'http://h.meta4'):
            self.assertFalse(prefixes.is_metalink(url), url)
